//! The config file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::config::Config;
use repository::format::go;
use repository::limits::CHUNK_BYTES_AVERAGE_RANGE;

fuzz_target!(|input: &[u8]| {
    if let Some(config) = repository_fuzz::survives(input, |json| serde_json::from_slice::<Config>(json), go::to_json) {
        let (low, high) = CHUNK_BYTES_AVERAGE_RANGE;
        let average = config.chunk_bytes_average();
        assert!(average.is_power_of_two() && (low..=high).contains(&average), "{average}");
    }
});
