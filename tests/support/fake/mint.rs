//! Makes tokens, codes and keys: long, unique, alike to the eye, and every secret one remembered.
//!
//! The stream is derived from a seed, so the model above it stays a pure function of what it is handed.

use ring::digest;

/// Makes texts that look random, and remembers the secret ones for the canary test.
#[derive(Debug)]
pub struct Mint {
    seed: [u8; 32],
    counter: u64,
    secrets: Vec<String>,
}

impl Mint {
    /// A mint with its own stream.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0, secrets: Vec::new() }
    }

    /// Every secret made so far, oldest first.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// A client id, which is no secret.
    pub fn client_id(&mut self) -> String {
        self.text("FAKEclient", 22, URL_SAFE)
    }

    /// A client secret of the size of the real ones, which are JWTs.
    pub fn client_secret(&mut self) -> String {
        let text = [20, 1100, 64].map(|length| self.text("", length, URL_SAFE)).join(".");
        self.remember(format!("FAKEclientSecret-{text}"))
    }

    /// A device code.
    pub fn device_code(&mut self) -> String {
        let text = self.text("FAKEdeviceCode-", 86, URL_SAFE);
        self.remember(text)
    }

    /// An authorization code.
    pub fn authorization_code(&mut self) -> String {
        let text = self.text("FAKEauthorizationCode-", 400, URL_SAFE);
        self.remember(text)
    }

    /// A user code, `XXXX-XXXX`, which is no secret.
    pub fn user_code(&mut self) -> String {
        let letters = self.text("", 8, CONSONANTS);
        format!("{}-{}", &letters[..4], &letters[4..])
    }

    /// An access token of more than a kilobyte.
    pub fn access_token(&mut self) -> String {
        let text = self.text("FAKEaccessToken-", 1200, URL_SAFE);
        self.remember(text)
    }

    /// A refresh token.
    pub fn refresh_token(&mut self) -> String {
        let text = self.text("FAKErefreshToken-", 900, URL_SAFE);
        self.remember(text)
    }

    /// An access key id, which names a set of role credentials and is no secret.
    pub fn access_key_id(&mut self) -> String {
        self.text("ASIA", 16, UPPER)
    }

    /// A secret access key of 40 characters.
    pub fn secret_access_key(&mut self) -> String {
        let text = self.text("FAKEsk", 34, STANDARD);
        self.remember(text)
    }

    /// A session token of role credentials.
    pub fn session_token(&mut self) -> String {
        let text = self.text("FAKEsessionToken", 750, STANDARD);
        self.remember(format!("{text}=="))
    }

    /// A sign-in token of the console.
    pub fn signin_token(&mut self) -> String {
        let text = self.text("FAKEsigninToken", 700, URL_SAFE);
        self.remember(text)
    }

    /// A secret that somebody else has made.
    pub fn know(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    fn remember(&mut self, secret: String) -> String {
        self.secrets.push(secret.clone());
        secret
    }

    fn text(&mut self, prefix: &str, length: usize, alphabet: &[u8]) -> String {
        self.counter += 1;
        let mut text = prefix.to_owned();
        let mut block = 0_u64;
        while text.len() < prefix.len() + length {
            let input = [&self.seed[..], &self.counter.to_be_bytes(), &block.to_be_bytes()].concat();
            let bytes = digest::digest(&digest::SHA256, &input);
            let missing = prefix.len() + length - text.len();
            let letters = bytes.as_ref().iter().take(missing);
            text.extend(letters.map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])));
            block += 1;
        }
        text
    }
}

const URL_SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const STANDARD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const CONSONANTS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
