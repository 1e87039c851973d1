//! Published vectors for what restic's encryption is made of, and texts that other tools encrypted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use repository::format::crypto::{Forged, Key};
use repository::format::key_file::KeyFile;

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    vec(hex).try_into().unwrap()
}

fn vec(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn key(encrypt: &str, k: &str, r: &str) -> Key {
    Key::from_bytes(&bytes(&[encrypt, k, r].concat()))
}

/// NIST SP 800-38A, F.5.5.
const NIST_KEY: &str = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
const NIST_COUNTER: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
const NIST_PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                          30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
const NIST_CIPHER: &str = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
                           2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6";
const MAC_K: &str = "ec074c835580741701425b623235add6";
const MAC_R: &str = "851fc40c3467ac0be05cc20404f3f700";

#[test]
fn poly1305_aes_gives_the_codes_of_its_paper() {
    // D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B: m, k, r, n and the code.
    let vectors = [
        ("f3f6", MAC_K, MAC_R, "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de"),
        (
            "",
            "75deaa25c09f208e1dc4ce6b5cad3fbf",
            "a0f3080000f46400d0c7e9076c834403",
            "61ee09218d29b0aaed7e154a2c5509cc",
            "dd3fab2251f11ac759f0887129cc2ee7",
        ),
        (
            "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
            "6acb5f61a7176dd320c5c1eb2edcdc74",
            "48443d0bb0d21109c89a100b5ce2c208",
            "ae212a55399729595dea458bc621ff0e",
            "0ee1c16bb73f0f4fd19881753c01cdbe",
        ),
        (
            "ab0812724a7f1e342742cbed374d94d136c6b8795d45b3819830f2c04491faf0\
             990c62e48b8018b2c3e4a0fa3134cb67fa83e158c994d961c4cb21095c1bf9",
            "e1a5668a4d5b66a5f68cc5424ed5982d",
            "12976a08c4426d0ce8a82407c4f48207",
            "9ae831e743978d3a23527c7128149e3a",
            "5154ad0d2cb26e01274fc51148491f1b",
        ),
    ];
    for (message, k, r, nonce, code) in vectors {
        let key = key(NIST_KEY, k, r);
        let stored = vec(&[nonce, message, code].concat());
        assert!(key.decrypt_in_place(&mut stored.clone()).is_ok(), "{message}");
        for bit in 0..stored.len() * 8 {
            let mut forged = stored.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.decrypt_in_place(&mut forged), Err(Forged), "bit {bit}");
        }
        for length in 0..stored.len() {
            assert_eq!(key.decrypt_in_place(&mut stored[..length].to_vec()), Err(Forged), "{length} bytes");
        }
    }
}

#[test]
fn a_text_of_aes_256_ctr_decrypts() {
    // The codes of this test and the next come from OpenSSL's AES and Poly1305 in whole numbers, in Python.
    let mut stored = vec(&[NIST_COUNTER, NIST_CIPHER, "65be6763ce099193acd0305ef016b634"].concat());
    assert_eq!(key(NIST_KEY, MAC_K, MAC_R).decrypt_in_place(&mut stored).unwrap(), vec(NIST_PLAIN));
}

#[test]
fn the_counter_has_128_bits() {
    let counter = "ffffffffffffffffffffffffffffffff";
    let cipher = "4f544c01ab3551b0eea374ee1e6901be911bd6e0faaa01f6762b38a53130c120e235723c780e3f6da1bbd9b5";
    let mut stored = vec(&[counter, cipher, "ea67c8a292c338a5af48958f20374909"].concat());
    let plain = key(NIST_KEY, MAC_K, MAC_R).decrypt_in_place(&mut stored).unwrap();
    assert_eq!(plain, b"the counter starts anew after its last value");
}

#[test]
fn bits_of_r_that_must_be_zero_are_cleared() {
    // restic draws `r` at random and clears them when it reads a key.
    let all = "ffffffffffffffffffffffffffffffff";
    let clamped = "ffffff0ffcffff0ffcffff0ffcffff0f";
    for r in [all, clamped] {
        let mut stored = vec(&[NIST_COUNTER, NIST_CIPHER, "5124a3c9bef94b44a04d128221389a53"].concat());
        assert_eq!(key(NIST_KEY, MAC_K, r).decrypt_in_place(&mut stored).unwrap(), vec(NIST_PLAIN));
    }
}

#[test]
fn what_is_encrypted_is_decrypted_and_never_twice_the_same() {
    let key = key(NIST_KEY, MAC_K, MAC_R);
    for length in [0, 1, 15, 16, 17, 1000, 100_000] {
        let plain = vec![7; length];
        let (mut first, second) = (key.encrypt(&plain).unwrap(), key.encrypt(&plain).unwrap());
        assert_eq!(first.len(), length + 32);
        assert_ne!(first, second);
        assert_eq!(key.decrypt_in_place(&mut first).unwrap(), plain);
    }
}

/// A key file with these costs, whose wrapping key is `derived`.
fn key_file(cost: (u64, u32, u32), salt: &str, derived: &str, master: &Key) -> KeyFile {
    let wrapping = Key::from_bytes(&bytes(derived));
    let data = wrapping.encrypt(&serde_json::to_vec(master).unwrap()).unwrap();
    let (n, r, p) = cost;
    let json = serde_json::json!({
        "created": "2023-01-02T03:04:05.678901234+01:00", "username": "u", "hostname": "h",
        "kdf": "scrypt", "N": n, "r": r, "p": p, "salt": BASE64.encode(salt), "data": BASE64.encode(data),
    });
    KeyFile::parse(json.to_string().as_bytes()).unwrap()
}

#[test]
fn scrypt_derives_the_keys_of_rfc_7914() {
    // Section 12, but for the last, which takes a GiB of memory.
    let vectors = [
        (
            ("", "", (16, 1, 1)),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442\
             fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
        ),
        (
            ("password", "NaCl", (1024, 8, 16)),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
             2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
        ),
        (
            ("pleaseletmein", "SodiumChloride", (16384, 8, 1)),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2\
             d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
        ),
    ];
    let master = key(NIST_KEY, MAC_K, MAC_R);
    for ((password, salt, cost), derived) in vectors {
        let opened = key_file(cost, salt, derived, &master).unwrap(password).unwrap();
        assert_eq!(serde_json::to_string(&opened).unwrap(), serde_json::to_string(&master).unwrap());
    }
}

#[test]
fn costs_that_could_take_all_memory_or_time_are_refused() {
    let master = key(NIST_KEY, MAC_K, MAC_R);
    let derived = "00".repeat(64);
    let refused =
        [(1 << 24, 8, 1), (1 << 63, 8, 1), (1 << 15, u32::MAX, 1), (2, 8, 1 << 20), (0, 8, 1), (3, 8, 1), (16, 0, 1)];
    for cost in refused {
        let error = key_file(cost, "salt", &derived, &master).unwrap("password").unwrap_err();
        assert_eq!(error.to_string(), "its scrypt cost is out of bounds", "{cost:?}");
    }
}
