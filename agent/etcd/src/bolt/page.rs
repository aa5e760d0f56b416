//! Leaf and branch pages: a header, a table of elements, and the keys and values packed behind it in the same order.
//!
//! bbolt addresses each item by an offset in its element, but always writes them packed, so the reader insists on it:
//! then a damaged offset, length or count shows at once.

use crate::num::{le_u16, le_u32, le_u64, size, wide};

/// Flags of a page's header; exactly one is set.
pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

/// Bytes of a page's header.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes of an element of the table, in leaves and branches alike.
pub(crate) const ELEMENT_BYTES: usize = 16;

/// A page's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    /// Pages that follow and belong to this one.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn parse(page: &[u8]) -> Option<Header> {
        Some(Header {
            id: le_u64(page, 0)?,
            flags: le_u16(page, 8)?,
            count: le_u16(page, 10)?,
            overflow: le_u32(page, 12)?,
        })
    }

    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let whole = u128::from(self.id)
            | u128::from(self.flags) << 64
            | u128::from(self.count) << 80
            | u128::from(self.overflow) << 96;
        whole.to_le_bytes()
    }

    /// Whether the items, which end at `used`, fill the pages claimed: bbolt takes as many pages as it needs, and
    /// older ones take one more when the last is exactly full.
    pub(crate) fn fits(&self, used: usize, page_size: usize) -> bool {
        let overflow = u64::from(self.overflow);
        let (used, page_size) = (wide(used), wide(page_size).max(1));
        overflow == used / page_size || overflow == used.div_ceil(page_size).saturating_sub(1)
    }
}

/// What can be wrong with a page that names its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    Table,
    Packing,
    Outside,
    EmptyKey,
    Order,
    Flags,
    Slack,
    PastEnd,
    TooLarge,
    NoChildren,
}

impl Malformed {
    const ALL: [Malformed; 10] = [
        Malformed::Table,
        Malformed::Packing,
        Malformed::Outside,
        Malformed::EmptyKey,
        Malformed::Order,
        Malformed::Flags,
        Malformed::Slack,
        Malformed::PastEnd,
        Malformed::TooLarge,
        Malformed::NoChildren,
    ];

    pub(crate) fn code(self) -> u32 {
        let place = Malformed::ALL.iter().position(|malformed| *malformed == self);
        place.and_then(|place| u32::try_from(place).ok()).unwrap_or_default()
    }

    pub(crate) fn from_code(code: u32) -> Option<Malformed> {
        Malformed::ALL.get(size(code)).copied()
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Malformed::Table => "its table of items does not fit into it",
            Malformed::Packing => "an item does not begin where the one before it ends",
            Malformed::Outside => "an item ends outside of it",
            Malformed::EmptyKey => "an item has an empty key",
            Malformed::Order => "its keys are not in order",
            Malformed::Flags => "an item has flags that do not exist",
            Malformed::Slack => "it claims more or fewer pages than its items fill",
            Malformed::PastEnd => "it claims pages past the end of the database",
            Malformed::TooLarge => "it spans more than the 64 MiB that the check holds at once",
            Malformed::NoChildren => "it is a branch without children",
        }
    }
}

/// An item of a leaf.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafItem<'a> {
    pub(crate) flags: u32,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Key and value, which lie side by side.
    pub(crate) both: &'a [u8],
}

/// An item of a branch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BranchItem<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) child: u64,
}

/// Steps through a page's table, checking that the data is packed.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    page: &'a [u8],
    element: usize,
    left: u16,
    data: usize,
}

impl<'a> Cursor<'a> {
    fn new(page: &'a [u8], count: u16) -> Self {
        let data = HEADER_BYTES.saturating_add(usize::from(count).saturating_mul(ELEMENT_BYTES));
        Cursor { page, element: HEADER_BYTES, left: count, data }
    }

    /// The next element, of 16 bytes.
    fn element(&mut self) -> Option<Result<&'a [u8; ELEMENT_BYTES], Malformed>> {
        self.left = self.left.checked_sub(1)?;
        let element = self.page.get(self.element..).and_then(|rest| rest.first_chunk::<ELEMENT_BYTES>());
        Some(element.ok_or(Malformed::Table))
    }

    /// The data of the element just read: `len` bytes, said to begin at `pos` after it.
    fn data(&mut self, pos: u32, len: usize) -> Result<&'a [u8], Malformed> {
        if self.element.checked_add(size(pos)) != Some(self.data) {
            return Err(Malformed::Packing);
        }
        let data = self.page.get(self.data..).and_then(|rest| rest.get(..len)).ok_or(Malformed::Outside)?;
        self.data = self.data.saturating_add(len);
        self.element = self.element.saturating_add(ELEMENT_BYTES);
        Ok(data)
    }

    /// Nothing comes after an error.
    fn stop<T>(&mut self, result: Result<T, Malformed>) -> Result<T, Malformed> {
        if result.is_err() {
            self.left = 0;
        }
        result
    }
}

/// The items of a leaf page.
#[derive(Debug, Clone)]
pub(crate) struct LeafItems<'a>(Cursor<'a>);

impl<'a> LeafItems<'a> {
    pub(crate) fn new(page: &'a [u8], count: u16) -> Self {
        LeafItems(Cursor::new(page, count))
    }

    /// Where the data read so far ends.
    pub(crate) fn used(&self) -> usize {
        self.0.data
    }

    fn read(&mut self, element: &'a [u8; ELEMENT_BYTES]) -> Result<LeafItem<'a>, Malformed> {
        let whole = u128::from_le_bytes(*element);
        let field = |shift: u32| u32::try_from((whole >> shift) & 0xffff_ffff).unwrap_or_default();
        let (flags, pos, key, value) = (field(0), field(32), size(field(64)), size(field(96)));
        if key == 0 {
            return Err(Malformed::EmptyKey);
        }
        if flags > super::BUCKET_FLAG {
            return Err(Malformed::Flags);
        }
        let both = self.0.data(pos, key.checked_add(value).ok_or(Malformed::Outside)?)?;
        let (key, value) = both.split_at_checked(key).ok_or(Malformed::Outside)?;
        Ok(LeafItem { flags, key, value, both })
    }
}

impl<'a> Iterator for LeafItems<'a> {
    type Item = Result<LeafItem<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.element()?.and_then(|element| self.read(element));
        Some(self.0.stop(item))
    }
}

/// The items of a branch page.
#[derive(Debug, Clone)]
pub(crate) struct BranchItems<'a>(Cursor<'a>);

impl<'a> BranchItems<'a> {
    pub(crate) fn new(page: &'a [u8], count: u16) -> Self {
        BranchItems(Cursor::new(page, count))
    }

    /// Where the data read so far ends.
    pub(crate) fn used(&self) -> usize {
        self.0.data
    }

    fn read(&mut self, element: &'a [u8; ELEMENT_BYTES]) -> Result<BranchItem<'a>, Malformed> {
        let parts = (le_u32(element, 0), le_u32(element, 4), le_u64(element, 8));
        let (Some(pos), Some(key), Some(child)) = parts else {
            return Err(Malformed::Table);
        };
        if key == 0 {
            return Err(Malformed::EmptyKey);
        }
        Ok(BranchItem { key: self.0.data(pos, size(key))?, child })
    }
}

impl<'a> Iterator for BranchItems<'a> {
    type Item = Result<BranchItem<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.element()?.and_then(|element| self.read(element));
        Some(self.0.stop(item))
    }
}
