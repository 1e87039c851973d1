//! The checksum that ends a dump of Redis: CRC-64 by the polynomial of Jones, reflected, from zero, nothing inverted
//! (redis/src/crc64.c).

/// The polynomial, its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
/// Bytes taken at once.
const SLICES: usize = 8;

/// What each byte adds, by how many bytes of a slice come after it.
static TABLES: [[u64; 256]; SLICES] = tables();

const fn tables() -> [[u64; 256]; SLICES] {
    let mut tables = [[0; 256]; SLICES];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// The checksum of what had `sum`, and `bytes` after it. That of nothing is 0.
pub fn crc64(mut sum: u64, bytes: &[u8]) -> u64 {
    let (slices, rest) = bytes.as_chunks::<SLICES>();
    for slice in slices {
        let mixed = (sum ^ u64::from_le_bytes(*slice)).to_le_bytes();
        sum = 0;
        for (place, byte) in mixed.into_iter().enumerate() {
            sum ^= TABLES[SLICES - 1 - place][usize::from(byte)];
        }
    }
    for byte in rest {
        sum = (sum >> 8) ^ TABLES[0][usize::from(*byte ^ sum as u8)];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_redis_gives() {
        // It stands in the test of redis/src/crc64.c.
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn wherever_the_bytes_are_parted_the_sum_is_the_same() {
        let bytes: Vec<u8> = (0..1000_u32).map(|number| (number * 31 % 251) as u8).collect();
        let whole = crc64(0, &bytes);
        for at in [0, 1, 7, 8, 9, 500, 999, 1000] {
            assert_eq!(crc64(crc64(0, &bytes[..at]), &bytes[at..]), whole, "parted at {at}");
        }
    }
}
