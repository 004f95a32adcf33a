//! What clients do to the ports: thousands of idle connections, silence, noise, floods. The others are served.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, stream};
use kotoba_proto::KotobaCluster;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::graph::{create_node, find_nodes};
use crate::member::Member;
use crate::wait::{PATIENCE, run, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Empty SETTINGS, as a client sends them first.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const IDLE: usize = 10_000;
/// Descriptors of the test for other things.
const OTHER_FILES: u64 = 500;
/// What one connection that has been greeted may cost the member.
const MOST_BYTES_EACH: u64 = 48 << 10;

/// As many connections as asked for, or as this user may open.
fn affordable(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap();
    if most < wanted {
        eprintln!("scaled down: this user may open {files} files, so {most} connections in place of {wanted}");
    }
    wanted.min(most)
}

async fn connect(address: SocketAddr) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(address))
        .await
        .expect("a connection in time")
        .unwrap()
}

/// A connection on which both sides have said hello, and nothing else.
async fn idle(address: SocketAddr) -> TcpStream {
    let mut connection = connect(address).await;
    connection.write_all(PREFACE).await.unwrap();
    connection.write_all(SETTINGS).await.unwrap();
    let mut frame = [0; 9];
    timeout(PATIENCE, connection.read_exact(&mut frame))
        .await
        .expect("settings in time")
        .unwrap();
    assert_eq!(frame[3], 4, "a member greets with SETTINGS: {frame:?}");
    connection
}

async fn idle_ones(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    stream::iter(0..count)
        .map(|_| idle(address))
        .buffer_unordered(100)
        .collect()
        .await
}

async fn write_and_read(client: &KotobaCluster, label: &str) {
    client.execute_operation(create_node(label, [])).await.unwrap();
    assert_eq!(client.count(find_nodes(label, [])).await.unwrap(), 1);
}

/// Until the other side closes; what it said before.
async fn closed(mut connection: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match timeout(PATIENCE, connection.read_to_end(&mut said))
        .await
        .expect("closed in time")
    {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    said
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_others_are_served() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded(directory.path(), "").await;
        write_and_read(&member.client(), "Before").await;
        let count = affordable(IDLE);
        let before = member.resident_bytes();
        let idle = idle_ones(member.ports.client, count).await;
        let each = member.resident_bytes().saturating_sub(before) / count as u64;
        eprintln!("{count} idle connections: {each} bytes of the member each");
        assert!(each <= MOST_BYTES_EACH, "{each} bytes each");
        let metrics = member.probe("/metrics").await;
        assert!(metrics.contains("kotoba_client_connections "), "{metrics}");
        // A new connection, and one that is open already.
        write_and_read(&member.client(), "During").await;
        assert!(member.probe("/readyz").await.contains("200 OK"));
        drop(idle);
        until("their places are free", || async {
            let metrics = member.probe("/metrics").await;
            let open = metrics
                .lines()
                .find_map(|line| line.strip_prefix("kotoba_client_connections "));
            match open.and_then(|open| open.parse::<u64>().ok()) {
                Some(open) if open < 10 => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
        write_and_read(&member.client(), "After").await;
        member.stop().await;
    });
}

#[test]
fn one_connection_too_many_is_refused_in_words_of_its_protocol() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded(directory.path(), "max_connections = 4\n").await;
        let client = member.client();
        write_and_read(&client, "First").await;
        let idle = idle_ones(member.ports.client, 3).await;
        let said = closed(connect(member.ports.client).await).await;
        let go_away = &said[SETTINGS.len()..];
        assert_eq!(
            (&said[..9], go_away[3]),
            (SETTINGS, 7),
            "SETTINGS, then GOAWAY: {said:?}"
        );
        assert!(
            String::from_utf8_lossy(go_away).ends_with("listen.max_connections"),
            "{said:?}"
        );
        assert_eq!(
            go_away.len() - 9,
            usize::from(go_away[2]),
            "the frame's length is right"
        );
        // Those that are in are served, and probes have a port of their own.
        write_and_read(&client, "Second").await;
        assert!(
            member
                .probe("/metrics")
                .await
                .contains("kotoba_client_connections_refused_total 1")
        );
        drop(idle);
        let other = member.client();
        until("a place", || async { other.count(find_nodes("Second", [])).await }).await;
    });
}

/// The process starts with few descriptors and may not have more: clients cannot take those of the stores.
#[test]
fn a_small_limit_of_open_files_bounds_the_clients_and_not_the_stores() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded_with_files(directory.path(), 900).await;
        let metrics = member.probe("/metrics").await;
        assert!(metrics.contains("kotoba_client_connections_max 132"), "{metrics}");
        let client = member.client();
        write_and_read(&client, "Before").await;
        let mut connections = Vec::new();
        for _ in 0..1_000 {
            connections.push(connect(member.ports.client).await);
        }
        write_and_read(&client, "During").await;
        assert!(member.probe("/readyz").await.contains("200 OK"));
        drop(connections);
        let other = member.client();
        until("a place", || async { other.count(find_nodes("During", [])).await }).await;
    });
}

/// Then nothing more can be accepted, on any port, until some connections end; what is open is served.
#[test]
fn a_member_without_descriptors_goes_on_and_accepts_again_when_there_are_some() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded_with_files(directory.path(), 200).await;
        let client = member.client();
        write_and_read(&client, "Before").await;
        let mut connections = Vec::new();
        for _ in 0..300 {
            connections.push(connect(member.ports.peer).await);
        }
        until("no descriptors", || async {
            match member
                .log()
                .matches("no connection can be accepted at the moment")
                .count()
            {
                0 => Err("it accepts"),
                _ => Ok(()),
            }
        })
        .await;
        write_and_read(&client, "During").await;
        let said = member.log().matches("no connection can be accepted").count();
        assert!(said < 1_000, "it tries again and again without a pause: {said} times");
        drop(connections);
        member.ready().await;
        write_and_read(&member.client(), "After").await;
    });
}

#[test]
fn noise_on_any_port_closes_that_connection_and_nothing_else() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let mut member = Member::founded(directory.path(), "").await;
        let noise: Vec<Vec<u8>> = vec![
            vec![0xff; 4_096],
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            [PREFACE, &[0xff; 64]].concat(),
            // A frame of 16 MiB is announced.
            [PREFACE, SETTINGS, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
            // HEADERS of which no end comes: CONTINUATION frames for ever.
            [PREFACE, SETTINGS, &endless_headers()].concat(),
        ];
        for port in [member.ports.client, member.ports.peer] {
            for noise in &noise {
                let mut connection = connect(port).await;
                // The member may close before all is written.
                let _ = connection.write_all(noise).await;
                closed(connection).await;
            }
        }
        let mut connection = connect(member.ports.http).await;
        connection.write_all(&[0xff; 4_096]).await.unwrap();
        let said = closed(connection).await;
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 400"),
            "{}",
            String::from_utf8_lossy(&said)
        );
        write_and_read(&member.client(), "Good").await;
        assert!(member.is_running());
    });
}

/// HEADERS without an end, and 4 MiB of CONTINUATION.
fn endless_headers() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    };
    // A literal header without indexing: name "x", value of 127 bytes.
    let mut header = vec![0, 1, b'x', 127, 0];
    header.extend([b'v'; 127]);
    let block = header.repeat(16_000 / header.len());
    let mut bytes = frame(1, 0, &block);
    for _ in 0..256 {
        bytes.extend(frame(9, 0, &block));
    }
    bytes
}

#[test]
fn a_flood_of_calls_that_are_reset_at_once_ends_with_its_connection() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let mut member = Member::founded(directory.path(), "").await;
        let mut connection = idle(member.ports.client).await;
        let mut flood = Vec::new();
        for stream in (1..20_000u32).step_by(2) {
            // HEADERS of a POST to "/", ended; then RST_STREAM with CANCEL.
            flood.extend([0, 0, 3, 1, 5]);
            flood.extend(stream.to_be_bytes());
            flood.extend([0x83, 0x86, 0x84]);
            flood.extend([0, 0, 4, 3, 0]);
            flood.extend(stream.to_be_bytes());
            flood.extend([0, 0, 0, 8]);
        }
        let (mut reader, mut writer) = connection.split();
        let mut said = Vec::new();
        let (_, read) = tokio::join!(writer.write_all(&flood), async {
            timeout(PATIENCE, reader.read_to_end(&mut said))
                .await
                .expect("closed in time")
        });
        drop(read);
        write_and_read(&member.client(), "Good").await;
        assert!(member.is_running());
    });
}

/// A head by the byte, and a body that nobody asked for.
#[test]
fn the_port_of_the_probes_bounds_heads_and_reads_no_bodies() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded(directory.path(), "").await;
        let mut connection = connect(member.ports.http).await;
        let long = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(64 << 10));
        let _ = connection.write_all(long.as_bytes()).await;
        let said = closed(connection).await;
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 431"),
            "{}",
            String::from_utf8_lossy(&said)
        );

        let mut connection = connect(member.ports.http).await;
        let body = b"POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n";
        connection.write_all(body).await.unwrap();
        let said = closed(connection).await;
        assert!(said.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&said));
        assert!(member.probe("/livez").await.contains("200 OK"));
    });
}

/// Takes as long as the limit, so the three ports are watched together.
#[test]
fn connections_that_say_nothing_are_let_go_after_half_a_minute() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let member = Member::founded(directory.path(), "").await;
        let begun = tokio::time::Instant::now();
        let silent = [member.ports.client, member.ports.peer, member.ports.http].map(|port| async move {
            closed(connect(port).await).await;
        });
        let slow = async {
            let mut connection = connect(member.ports.http).await;
            for byte in b"GET /livez HTTP/1.1\r\n".iter().cycle() {
                if connection.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::join!(futures::future::join_all(silent), slow);
        let passed = begun.elapsed();
        assert!((Duration::from_secs(29)..PATIENCE).contains(&passed), "{passed:?}");
        write_and_read(&member.client(), "Good").await;
    });
}
