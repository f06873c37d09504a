//! Files with holes, in all the ways that tars describe them.
//!
//! GNU's old format puts pairs of offset and length into the header and into blocks after it; PAX
//! 0.0 and 0.1 put them into records, PAX 1.0 in front of the data. In each, only the pieces are
//! stored, one after the other.

use std::io::Read;

use super::BLOCK;
use super::number;
use crate::ContentError;

/// Pieces that one file may have.
const MAX_PIECES: usize = 1 << 20;

/// A run of data inside a file that is otherwise holes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Checks that the pieces are in order, inside the file, and account for the stored bytes.
///
/// # Errors
/// If they do not.
pub(super) fn check(pieces: &[Piece], size: u64, stored: u64) -> Result<(), ContentError> {
    let mut end = 0;
    let mut total = 0_u64;
    for piece in pieces {
        let next = piece.offset.checked_add(piece.length).ok_or_else(bad)?;
        if piece.offset < end || next > size {
            return Err(bad());
        }
        end = next;
        total += piece.length;
    }
    if total == stored { Ok(()) } else { Err(bad()) }
}

fn bad() -> ContentError {
    ContentError::header("invalid sparse map")
}

fn push(pieces: &mut Vec<Piece>, offset: u64, length: u64) -> Result<(), ContentError> {
    if pieces.len() >= MAX_PIECES {
        return Err(bad());
    }
    pieces.push(Piece { offset, length });
    Ok(())
}

fn push_fields(pieces: &mut Vec<Piece>, fields: &[u8]) -> Result<(), ContentError> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = u64::try_from(number::parse_field(&pair[..12])?).map_err(|_| bad())?;
        let length = u64::try_from(number::parse_field(&pair[12..])?).map_err(|_| bad())?;
        push(pieces, offset, length)?;
    }
    Ok(())
}

/// Reads GNU's old map: four pairs in the header, then blocks of 21 pairs. Returns the pieces and
/// the size of the file.
///
/// # Errors
/// If a number is malformed or the input ends.
pub(super) fn read_old(
    header: &[u8; BLOCK],
    input: &mut impl Read,
) -> Result<(Vec<Piece>, u64), ContentError> {
    let mut pieces = Vec::new();
    push_fields(&mut pieces, &header[386..482])?;
    let size = u64::try_from(number::parse_field(&header[483..495])?).map_err(|_| bad())?;
    let mut extended = header[482] != 0;
    while extended {
        let mut block = [0; BLOCK];
        super::reader::read_exact(input, &mut block)?;
        push_fields(&mut pieces, &block[..504])?;
        extended = block[504] != 0;
    }
    Ok((pieces, size))
}

/// Reads PAX 0.1's comma list (0.0 is collected into the same form).
///
/// # Errors
/// If it is not an even list of numbers.
pub(super) fn parse_list(text: &[u8]) -> Result<Vec<Piece>, ContentError> {
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let mut numbers = text.split(',').filter(|part| !part.is_empty());
    let mut pieces = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or_else(bad)?;
        let offset = offset.parse().map_err(|_| bad())?;
        push(&mut pieces, offset, length.parse().map_err(|_| bad())?)?;
    }
    Ok(pieces)
}

/// Reads PAX 1.0's map from the start of the data: decimal lines, padded to a block. Returns the
/// pieces and the stored bytes that were consumed.
///
/// # Errors
/// If it is malformed or larger than the stored data.
pub(super) fn read_lines(
    input: &mut impl Read,
    stored: u64,
) -> Result<(Vec<Piece>, u64), ContentError> {
    let mut lines = Lines {
        input,
        block: [0; BLOCK],
        at: BLOCK,
        consumed: 0,
        stored,
    };
    let count = lines.number()?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        let offset = lines.number()?;
        push(&mut pieces, offset, lines.number()?)?;
    }
    Ok((pieces, lines.consumed))
}

struct Lines<'a, R> {
    input: &'a mut R,
    block: [u8; BLOCK],
    at: usize,
    consumed: u64,
    stored: u64,
}

impl<R: Read> Lines<'_, R> {
    fn byte(&mut self) -> Result<u8, ContentError> {
        if self.at == BLOCK {
            self.consumed += BLOCK as u64;
            if self.consumed > self.stored.next_multiple_of(BLOCK as u64) {
                return Err(bad());
            }
            super::reader::read_exact(self.input, &mut self.block)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }

    fn number(&mut self) -> Result<u64, ContentError> {
        let mut value: u64 = 0;
        for digits in 0..=20 {
            match self.byte()? {
                b'\n' if digits > 0 => return Ok(value),
                digit @ b'0'..=b'9' => {
                    value = value
                        .checked_mul(10)
                        .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                        .ok_or_else(bad)?;
                }
                _ => return Err(bad()),
            }
        }
        Err(bad())
    }
}
