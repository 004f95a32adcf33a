# Two images from one file: `node` (the database) and `operator`. Both hold one static binary and nothing else.
#
# With a registry:   docker build --target node -t kotoba:dev .
# Without one:       kind-test/cluster/build-image.sh replaces the stage `build` by a folder with the two binaries.

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN ./scripts/build-release.sh /

FROM scratch AS node
COPY --from=build /kotoba /kotoba
USER 65532:65532
EXPOSE 7600 7680 7700
ENTRYPOINT ["/kotoba"]
CMD ["serve"]

FROM scratch AS operator
COPY --from=build /kotoba-operator /kotoba-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/kotoba-operator"]
CMD ["run"]
