//! Holes 9 to 11: outcomes that come late, twice, or after they were forgotten.
