//! The Python literal in an npy header: a dict of exactly `descr`, `fortran_order` and `shape`.

/// The header's fields.
#[derive(Debug, PartialEq)]
pub(super) struct Fields {
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<usize>,
}

pub(super) fn parse(text: &[u8]) -> Result<Fields, String> {
    let mut p = Parser { rest: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    p.expect(b'{')?;
    while !p.accept(b'}') {
        let key = p.string()?;
        p.expect(b':')?;
        let repeated = match key.as_str() {
            "descr" => descr.replace(p.descr()?).is_some(),
            "fortran_order" => fortran_order.replace(p.bool()?).is_some(),
            "shape" => shape.replace(p.tuple()?).is_some(),
            _ => return Err(format!("its header has an unknown key `{key}`")),
        };
        if repeated {
            return Err(format!("its header has the key `{key}` twice"));
        }
        if !p.accept(b',') {
            p.expect(b'}')?;
            break;
        }
    }
    p.end()?;
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => Ok(Fields { descr, fortran_order, shape }),
        _ => Err("its header lacks `descr`, `fortran_order` or `shape`".to_string()),
    }
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    /// The next byte that is no white space, not taken.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.accept(byte) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(b) => {
                format!("its header has `{}` where `{}` belongs", b.escape_ascii(), byte.escape_ascii())
            }
            None => "its header ends early".to_string(),
        })
    }

    fn end(&mut self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err("its header goes on after the dict".to_string()),
        }
    }

    /// As many bytes as `wanted` holds for.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> String {
        let len = self.rest.iter().take_while(|&&b| wanted(b)).count();
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        String::from_utf8_lossy(taken).into_owned()
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = if self.peek() == Some(b'"') { b'"' } else { b'\'' };
        self.expect(quote)?;
        let s = self.take_while(|b| b != quote && b != b'\\');
        self.expect(quote)?;
        Ok(s)
    }

    fn descr(&mut self) -> Result<String, String> {
        if self.peek() == Some(b'[') {
            return Err("it is a structured array; save its fields as arrays of their own".to_string());
        }
        self.string()
    }

    fn bool(&mut self) -> Result<bool, String> {
        self.peek();
        match self.take_while(|b| b.is_ascii_alphabetic()).as_str() {
            "True" => Ok(true),
            "False" => Ok(false),
            word => Err(format!("its header has `{word}` where True or False belongs")),
        }
    }

    /// `()`, `(3,)`, `(2, 3)`; Python 2 wrote `3L`.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut dims = vec![];
        self.expect(b'(')?;
        while !self.accept(b')') {
            self.peek();
            let digits = self.take_while(|b| b.is_ascii_digit());
            dims.push(digits.parse().map_err(|_| format!("its shape has the dim `{digits}`"))?);
            self.accept(b'L');
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_numpy_writes_and_may_write() {
        let fields = |shape: &[usize], fortran_order| Fields {
            descr: "<f4".to_string(),
            fortran_order,
            shape: shape.to_vec(),
        };
        let text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }    \n";
        assert_eq!(parse(text), Ok(fields(&[2, 3], false)));
        let text = br#"{"shape": (7L,), "fortran_order": True, "descr": "<f4"}"#;
        assert_eq!(parse(text), Ok(fields(&[7], true)));
        assert_eq!(parse(b"{'descr':'<f4','fortran_order':False,'shape':()}"), Ok(fields(&[], false)));
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999999)}",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} {}",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
