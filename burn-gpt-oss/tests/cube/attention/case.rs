//! Sizes, visibility and values.

use burn::tensor::{DType, TensorData};

#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub batch: usize,
    pub len: usize,
    pub keys: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    pub window: Option<usize>,
    pub first_query: usize,
    /// `[batch, keys]`
    pub segments: Option<Vec<i32>>,
    pub sink: f32,
}

/// Inputs, and the gradient that comes back.
#[derive(Clone)]
pub struct Values {
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    pub sinks: Vec<f32>,
    pub grad: Vec<f32>,
}

impl Case {
    fn new(name: &'static str, [batch, len]: [usize; 2], [heads, kv_heads]: [usize; 2]) -> Self {
        Self {
            name,
            batch,
            len,
            keys: len,
            heads,
            kv_heads,
            dim: 64,
            window: None,
            first_query: 0,
            segments: None,
            sink: 0.0,
        }
    }

    fn dim(self, dim: usize) -> Self {
        Self { dim, ..self }
    }

    fn window(self, window: usize) -> Self {
        let window = Some(window);
        Self { window, ..self }
    }

    fn cached(self, first_query: usize, keys: usize) -> Self {
        Self {
            first_query,
            keys,
            ..self
        }
    }

    /// Documents of these lengths and numbers in every sequence, and how many keys at both ends of each
    /// sequence are padding.
    fn documents(self, documents: &[(usize, i32)], padding: &[[usize; 2]]) -> Self {
        let keys = self.keys;
        let row = documents.iter().flat_map(|(n, id)| vec![*id; *n]);
        let row: Vec<i32> = row.collect();
        assert_eq!(row.len(), keys, "{}", self.name);
        let padded = |[left, right]: [usize; 2]| {
            let real = left..keys - right;
            row.iter()
                .enumerate()
                .map(move |(i, id)| match real.contains(&i) {
                    true => *id,
                    false => -1 - *id,
                })
        };
        let rows = (0..self.batch).map(|b| padding.get(b).copied().unwrap_or_default());
        let segments = Some(rows.flat_map(padded).collect());
        Self { segments, ..self }
    }

    pub fn wide(&self) -> [usize; 4] {
        [self.batch, self.len, self.heads, self.dim]
    }

    pub fn narrow(&self) -> [usize; 4] {
        [self.batch, self.keys, self.kv_heads, self.dim]
    }

    pub fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Numbers of the dtype.
    pub fn values(&self, dtype: DType) -> Values {
        let mut state = (self.len * self.heads + self.dim) as u64;
        let mut random = |count: usize, size: f32| {
            let values = (0..count).map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
            });
            let data = TensorData::new(values.collect::<Vec<f32>>(), [count]);
            let narrow = data.convert_dtype(dtype).convert::<f32>();
            narrow.try_into_vec().expect("f32")
        };
        let (wide, narrow) = (self.wide().iter().product(), self.narrow().iter().product());
        Values {
            query: random(wide, 3.0),
            key: random(narrow, 3.0),
            value: random(narrow, 1.0),
            sinks: random(self.heads, 2.0)
                .iter()
                .map(|x| x + self.sink)
                .collect(),
            grad: random(wide, 1.0),
        }
    }

    /// Whether the query of this index sees a key.
    pub fn sees(&self, batch: usize, query: usize, key: usize) -> bool {
        let position = self.first_query + query;
        let near = key <= position && self.window.is_none_or(|window| key + window > position);
        near && self.segments.as_ref().is_none_or(|numbers| {
            let own = numbers[batch * self.keys + position];
            let own = if own < 0 { -1 - own } else { own };
            numbers[batch * self.keys + key] == own
        })
    }
}

/// The third has everything: groups, a window, a head dimension of 64.
pub fn small() -> Vec<Case> {
    let packed = [(5, 3), (1, 0), (40, 7), (13, 2), (71, 2)];
    vec![
        Case::new("one", [1, 1], [1, 1]).dim(4),
        Case::new("odd", [2, 37], [4, 2]).dim(12),
        Case::new("group of eight", [1, 70], [8, 1]).window(16),
        Case::new("wide window", [1, 33], [2, 1]).window(100),
        Case::new("keys on both sides", [1, 5], [2, 2])
            .cached(20, 50)
            .window(7),
        Case::new("padding", [2, 40], [2, 1]).documents(&[(40, 0)], &[[7, 0], [40, 0]]),
        Case::new("documents", [1, 130], [4, 2]).documents(&packed, &[]),
        Case::new("all of it", [2, 60], [2, 1])
            .cached(66, 130)
            .window(30)
            .documents(&packed, &[[70, 3], [0, 0]]),
        Case::new("wide heads", [1, 40], [2, 2]).dim(128),
        Case::new("without sinks", [1, 40], [2, 1]).sink(f32::NEG_INFINITY),
        Case::new("strong sinks", [1, 40], [2, 1]).sink(60.0),
    ]
}

/// More than a tile of everything.
pub fn large() -> Vec<Case> {
    let packed = [(301, 1), (64, 2), (3, 3), (259, 4), (144, 5)];
    vec![
        Case::new("long", [1, 1025], [4, 2]),
        Case::new("long window", [2, 771], [8, 1]).window(128),
        Case::new("long documents", [2, 771], [4, 1]).documents(&packed, &[[100, 9], [0, 70]]),
        Case::new("long documents in a window", [1, 771], [2, 2])
            .window(128)
            .documents(&packed, &[]),
        Case::new("long cached", [1, 200], [4, 1])
            .cached(501, 771)
            .window(90),
        Case::new("long other dimension", [1, 300], [2, 1]).dim(32),
    ]
}

/// All keys are padding.
pub fn hidden() -> Case {
    Case::new("hidden", [1, 70], [2, 1]).documents(&[(70, 4)], &[[70, 0]])
}

impl Case {
    fn sink(self, sink: f32) -> Self {
        Self { sink, ..self }
    }
}
