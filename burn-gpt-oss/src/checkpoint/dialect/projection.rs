//! Names of tensors that belong to one expert.

/// Which matrix of the published checkpoints a tensor is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checkpoint) enum Matrix {
    GateUp,
    Down,
}

/// Which rows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::checkpoint) enum Rows {
    All,
    /// The even ones of `gate_up_proj`.
    Gate,
    /// The odd ones.
    Up,
}

/// A name such as `model.layers.3.mlp.experts.7.gate_proj.weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Name<'a> {
    pub layer: usize,
    pub expert: usize,
    pub matrix: Matrix,
    pub rows: Rows,
    /// `weight`, `bias`, `weight_packed` and the like.
    pub part: &'a str,
}

impl Matrix {
    pub fn name(self, layer: usize) -> String {
        let matrix = match self {
            Self::GateUp => "gate_up_proj",
            Self::Down => "down_proj",
        };
        format!("model.layers.{layer}.mlp.experts.{matrix}")
    }
}

impl<'a> Name<'a> {
    /// None if it is another name.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (first, rest) = rest.strip_prefix("mlp.experts.")?.split_once('.')?;
        let (second, part) = rest.split_once('.')?;
        let (expert, projection) = match number(first) {
            Some(expert) => (expert, second),
            // Lists of modules have the plural.
            None => (number(second)?, first.strip_suffix('s')?),
        };
        let (matrix, rows) = match projection {
            "gate_proj" | "w1" => (Matrix::GateUp, Rows::Gate),
            "up_proj" | "w3" => (Matrix::GateUp, Rows::Up),
            "gate_up_proj" => (Matrix::GateUp, Rows::All),
            "down_proj" | "w2" => (Matrix::Down, Rows::All),
            _ => return None,
        };
        Some(Self {
            layer: number(layer)?,
            expert,
            matrix,
            rows,
            part,
        })
    }
}

fn number(word: &str) -> Option<usize> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    // 07 is not 7: both would be one expert.
    let plain = digits && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_programs_mean_the_same() {
        let name = |matrix, rows, part| {
            Some(Name {
                layer: 2,
                expert: 13,
                matrix,
                rows,
                part,
            })
        };
        for (text, expected) in [
            (
                "13.gate_proj.weight",
                name(Matrix::GateUp, Rows::Gate, "weight"),
            ),
            (
                "13.up_proj.weight_packed",
                name(Matrix::GateUp, Rows::Up, "weight_packed"),
            ),
            ("13.w2.bias", name(Matrix::Down, Rows::All, "bias")),
            (
                "gate_up_projs.13.weight",
                name(Matrix::GateUp, Rows::All, "weight"),
            ),
            (
                "down_projs.13.weight.absmax",
                name(Matrix::Down, Rows::All, "weight.absmax"),
            ),
            ("gate_up_proj_blocks", None),
            ("router.13.weight", None),
        ] {
            let text = format!("model.layers.2.mlp.experts.{text}");
            assert_eq!(Name::parse(&text), expected, "{text}");
        }
    }
}
