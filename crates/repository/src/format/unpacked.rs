//! The plain form of index files, snapshots and locks: JSON as it is, or a 2 and zstd-compressed JSON.

use crate::limits::UNPACKED_BYTES_MAX;

const COMPRESSED: u8 = 2;

/// The compressed form of `json`.
pub fn encode(json: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = vec![COMPRESSED];
    plain.extend_from_slice(&zstd::bulk::compress(json, zstd::DEFAULT_COMPRESSION_LEVEL)?);
    Ok(plain)
}

/// The JSON in `plain`, which is a decrypted file.
pub fn decode(plain: &[u8]) -> Result<Vec<u8>, String> {
    match plain.split_first() {
        Some((b'{' | b'[', _)) => Ok(plain.to_vec()),
        Some((&COMPRESSED, frame)) => {
            let mut json = Vec::new();
            let decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(|error| error.to_string())?;
            // One byte more than the bound, to tell "at the bound" from "beyond".
            let mut bounded = std::io::Read::take(decoder, UNPACKED_BYTES_MAX as u64 + 1);
            std::io::Read::read_to_end(&mut bounded, &mut json).map_err(|error| error.to_string())?;
            if json.len() > UNPACKED_BYTES_MAX {
                return Err(format!("it is larger than {UNPACKED_BYTES_MAX} bytes"));
            }
            Ok(json)
        }
        Some((version, _)) => Err(format!("its encoding {version} is not known")),
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        assert_eq!(decode(b"{\"a\":1}").unwrap(), b"{\"a\":1}");
        assert_eq!(decode(&encode(b"[1,2]").unwrap()).unwrap(), b"[1,2]");
    }

    #[test]
    fn unknown_or_torn_forms_are_refused() {
        assert_eq!(decode(b"").unwrap_err(), "it is empty");
        assert_eq!(decode(b"\x03abc").unwrap_err(), "its encoding 3 is not known");
        let mut torn = encode(&[b'{'; 100]).unwrap();
        torn.truncate(torn.len() - 3);
        assert!(decode(&torn).is_err());
    }
}
