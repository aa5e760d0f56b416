//! A page in the making.

use crate::num::size;

use super::page::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, Header, LEAF};
use super::{BUCKET_FLAG, build::TooLarge};

/// What a page of a tree can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Leaf,
    Branch,
}

/// An element of the page's table.
#[derive(Debug, Clone, Copy)]
struct Element {
    key: u32,
    value: u32,
    /// A leaf's flags, or a branch's child.
    tail: u64,
}

/// Elements, and their keys and values packed as the page will have them.
#[derive(Debug)]
pub(super) struct Draft {
    kind: Kind,
    elements: Vec<Element>,
    data: Vec<u8>,
}

impl Draft {
    pub(super) fn new(kind: Kind) -> Self {
        Draft { kind, elements: Vec::new(), data: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let table = self.elements.len().saturating_mul(ELEMENT_BYTES);
        HEADER_BYTES.saturating_add(table).saturating_add(self.data.len())
    }

    pub(super) fn first_key(&self) -> &[u8] {
        let len = self.elements.first().map_or(0, |element| size(element.key));
        self.data.get(..len).unwrap_or_default()
    }

    pub(super) fn holds_buckets(&self) -> bool {
        let flag = u64::from(BUCKET_FLAG);
        self.kind == Kind::Leaf && self.elements.iter().any(|element| element.tail & flag != 0)
    }

    /// Adds an element at the end: `tail` is a leaf's flags, or a branch's child.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8], tail: u64) -> Result<(), TooLarge> {
        self.elements.push(Element { key: narrow32(key.len())?, value: narrow32(value.len())?, tail });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        Ok(())
    }

    /// Moves the last element to the front of another draft.
    pub(super) fn give_last(&mut self, next: &mut Draft) {
        let Some(element) = self.elements.pop() else { return };
        let len = size(element.key).saturating_add(size(element.value));
        let mut data = self.data.split_off(self.data.len().saturating_sub(len));
        data.append(&mut next.data);
        next.data = data;
        next.elements.insert(0, element);
    }

    /// Takes over all that another draft has.
    pub(super) fn append(&mut self, next: &mut Draft) {
        self.elements.append(&mut next.elements);
        self.data.append(&mut next.data);
    }

    /// The page's image, without padding.
    pub(super) fn encode(&self, id: u64, overflow: u32) -> Result<Vec<u8>, TooLarge> {
        let count = u16::try_from(self.elements.len()).map_err(|_| TooLarge)?;
        let flags = match self.kind {
            Kind::Leaf => LEAF,
            Kind::Branch => BRANCH,
        };
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(&Header { id, flags, count, overflow }.encode());
        let mut pos = self.elements.len().saturating_mul(ELEMENT_BYTES);
        for element in &self.elements {
            let at = narrow32(pos)?;
            let whole = match self.kind {
                Kind::Leaf => {
                    let flags = u128::from(element.tail) & 0xffff_ffff;
                    flags | u128::from(at) << 32 | u128::from(element.key) << 64 | u128::from(element.value) << 96
                }
                Kind::Branch => u128::from(at) | u128::from(element.key) << 32 | u128::from(element.tail) << 64,
            };
            out.extend_from_slice(&whole.to_le_bytes());
            let data = size(element.key).saturating_add(size(element.value));
            pos = pos.saturating_sub(ELEMENT_BYTES).saturating_add(data);
        }
        out.extend_from_slice(&self.data);
        Ok(out)
    }
}

pub(super) fn narrow32(n: usize) -> Result<u32, TooLarge> {
    u32::try_from(n).map_err(|_| TooLarge)
}
