//! Seal: compress (zstd), then encrypt (age), then sum. Stock `age -d | zstd -d` opens what comes out; nothing of ours is in between.

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Reason, Result};
use crate::keys::Recipients;
use bytes::{Bytes, BytesMut};
use std::io::Write;
use zstd::zstd_safe::CParameter;

/// The sealed bytes are summed in pieces of this size, so that each can be checked before anything is decrypted.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Sealed bytes are handed on in pieces of this size, a whole number to a chunk: whoever takes them holds no more than needed.
const PIECE_BYTES: usize = 256 << 10;

/// What the compressor's thread takes at a time. Its own choice, four windows, costs more memory and gains nothing.
const JOB_BYTES: u32 = 1 << 20;

/// Level 1: on etcd's own data it is 4 % larger than level 3 and costs half the processor time, which is etcd's to have.
const ZSTD_LEVEL: i32 = 1;

/// The SHA-256 of each `CHUNK_BYTES` of a sealed object, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(Vec<Digest>);

impl Sums {
    /// One lowercase hex line a chunk.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|digest| format!("{digest}\n")).collect()
    }

    /// Reads the text back; it must have exactly the lines that an object of `sealed_bytes` needs.
    pub fn parse(text: &str, sealed_bytes: u64) -> Result<Self, String> {
        let sums = text.lines().map(str::parse).collect::<Result<Vec<Digest>, _>>()?;
        let wanted = sealed_bytes.div_ceil(CHUNK_BYTES as u64);
        if sums.len() as u64 != wanted {
            return Err(format!("{} sums where {sealed_bytes} bytes need {wanted}", sums.len()));
        }
        Ok(Sums(sums))
    }

    /// Whether these are the bytes of chunk `index`.
    pub fn matches(&self, index: usize, bytes: &[u8]) -> bool {
        self.0.get(index).is_some_and(|digest| *digest == Digest::of(bytes))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What was sealed, as the manifest will say it.
#[derive(Clone, Debug)]
pub struct SealReceipt {
    pub bytes: u64,
    pub sha256: Digest,
    pub sums: Sums,
    pub recipients: Vec<Digest>,
}

/// Takes plaintext, gives sealed bytes to `out` in pieces as they fill. You **must** call `finish`, or there is no receipt.
pub struct Sealer<F: FnMut(Bytes) -> std::io::Result<()>> {
    chain: zstd::Encoder<'static, age::stream::StreamWriter<Chunks<F>>>,
    recipients: Vec<Digest>,
}

impl<F: FnMut(Bytes) -> std::io::Result<()>> Sealer<F> {
    /// Begins a sealed stream; its age header goes to `out` with the first piece.
    pub fn new(recipients: &Recipients, out: F) -> Result<Self> {
        let encryptor = age::Encryptor::with_recipients(recipients.as_dyn())
            .map_err(|source| Error::new(Reason::Config, "these recipients cannot be used together").because(source))?;
        let sealed = encryptor.wrap_output(Chunks::new(out)).map_err(failed)?;
        let mut chain = zstd::Encoder::new(sealed, ZSTD_LEVEL).map_err(failed)?;
        chain.multithread(1).map_err(failed)?;
        chain.set_parameter(CParameter::JobSize(JOB_BYTES)).map_err(failed)?;
        chain.include_checksum(true).map_err(failed)?;
        Ok(Sealer { chain, recipients: recipients.fingerprints() })
    }

    pub fn push(&mut self, plaintext: &[u8]) -> Result<()> {
        self.chain.write_all(plaintext).map_err(failed)
    }

    pub fn finish(self) -> Result<SealReceipt> {
        let chunks = self.chain.finish().and_then(age::stream::StreamWriter::finish).map_err(failed)?;
        let (bytes, sha256, sums) = chunks.finish().map_err(failed)?;
        Ok(SealReceipt { bytes, sha256, sums, recipients: self.recipients })
    }
}

/// The chain's own errors are what `out` answered: the upload's end hung up, and it says itself why.
fn failed(source: std::io::Error) -> Error {
    Error::new(Reason::Internal, "sealing stopped").because(source)
}

/// Sums the sealed bytes, each chunk and the whole, and hands them on in pieces.
struct Chunks<F: FnMut(Bytes) -> std::io::Result<()>> {
    piece: BytesMut,
    chunk: Hasher,
    chunk_bytes: usize,
    whole: Hasher,
    sums: Sums,
    bytes: u64,
    out: F,
}

impl<F: FnMut(Bytes) -> std::io::Result<()>> Chunks<F> {
    fn new(out: F) -> Self {
        Chunks {
            piece: BytesMut::with_capacity(PIECE_BYTES),
            chunk: Hasher::default(),
            chunk_bytes: 0,
            whole: Hasher::default(),
            sums: Sums::default(),
            bytes: 0,
            out,
        }
    }

    fn hand_on(&mut self) -> std::io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE_BYTES)).freeze();
        self.whole.update(&piece);
        self.chunk.update(&piece);
        self.chunk_bytes += piece.len();
        self.bytes += piece.len() as u64;
        if self.chunk_bytes == CHUNK_BYTES {
            self.end_chunk();
        }
        (self.out)(piece)
    }

    fn end_chunk(&mut self) {
        self.sums.0.push(std::mem::take(&mut self.chunk).finish());
        self.chunk_bytes = 0;
    }

    fn finish(mut self) -> std::io::Result<(u64, Digest, Sums)> {
        if !self.piece.is_empty() {
            self.hand_on()?;
        }
        if self.chunk_bytes > 0 {
            self.end_chunk();
        }
        Ok((self.bytes, self.whole.finish(), self.sums))
    }
}

impl<F: FnMut(Bytes) -> std::io::Result<()>> Write for Chunks<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = PIECE_BYTES - self.piece.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.piece.extend_from_slice(taken);
        if self.piece.len() == PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_age_and_zstd_and_its_sums_fit() {
        let identity = age::x25519::Identity::generate();
        let recipients = Recipients::new(vec![identity.to_public()]).unwrap();
        let mut noise = 1u64;
        let plaintext: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        })
        .take(9_000_000)
        .collect();
        let mut sealed: Vec<Bytes> = Vec::new();
        let mut sealer = Sealer::new(&recipients, |piece| {
            sealed.push(piece);
            Ok(())
        })
        .unwrap();
        for piece in plaintext.chunks(70_001) {
            sealer.push(piece).unwrap();
        }
        let receipt = sealer.finish().unwrap();
        assert!(sealed.iter().all(|piece| piece.len() <= PIECE_BYTES));
        let sealed = sealed.concat();
        assert!(sealed.len() > CHUNK_BYTES, "{} bytes are not more than one chunk", sealed.len());
        for (index, chunk) in sealed.chunks(CHUNK_BYTES).enumerate() {
            assert!(receipt.sums.matches(index, chunk));
        }
        assert_eq!(Sums::parse(&receipt.sums.to_text(), receipt.bytes).unwrap(), receipt.sums);
        assert!(Sums::parse(&receipt.sums.to_text(), receipt.bytes + (CHUNK_BYTES as u64)).is_err());
        assert_eq!(receipt.sha256, Digest::of(&sealed));
        let opened = age::decrypt(&identity, &sealed).unwrap();
        assert_eq!(zstd::decode_all(&opened[..]).unwrap(), plaintext);
    }
}
