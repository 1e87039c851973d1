//! Pseudo-random numbers that are the same on every machine, so that every run of the benchmark sees the same bytes.
//!
//! The generator is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): one
//! addition and two multiplications for eight bytes. It must never be used for a secret.

/// A stream of pseudo-random numbers.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The stream for the part of the file `name` that begins at `position`. Streams of different names or positions are
    /// unrelated, so files can be written in any order, on any thread, and be continued later.
    pub fn new(seed: u64, name: &str, position: u64) -> Self {
        // FNV-1a over the name; the first number drawn mixes its bits thoroughly.
        let name = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut mixed = Self(seed);
        mixed.0 = mixed.next() ^ name;
        mixed.0 = mixed.next() ^ position;
        Self(mixed.next())
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `start` up to, not including, `end`.
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end - start)
    }

    /// Appends `count` incompressible bytes.
    pub fn bytes(&mut self, out: &mut Vec<u8>, count: usize) {
        let end = out.len() + count;
        while out.len() < end {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_stream_is_splitmix64() {
        // The first numbers of the reference implementation for the state 1234567.
        let mut random = Random(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn streams_differ_by_seed_name_and_position() {
        let first = |seed, name, position| Random::new(seed, name, position).next();
        assert_eq!(first(1, "a", 0), first(1, "a", 0));
        assert_ne!(first(1, "a", 0), first(2, "a", 0));
        assert_ne!(first(1, "a", 0), first(1, "b", 0));
        assert_ne!(first(1, "a", 0), first(1, "a", 1));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::new(1, "bounds", 0);
        let drawn: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        assert_eq!(drawn.iter().min().zip(drawn.iter().max()), Some((&3, &5)));
    }

    #[test]
    fn exactly_as_many_bytes_are_appended_as_asked_for() {
        let mut out = vec![7];
        Random::new(1, "bytes", 0).bytes(&mut out, 13);
        assert_eq!(out.len(), 14);
    }
}
