//! Which rows belong to which expert.

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::super::ExpertRoutes;
use crate::product::flex::{elements, tensor};

/// Stable sort of the choices by counting.
pub(super) fn sort(indices: &FlexTensor, n_experts: usize) -> ExpertRoutes<Flex> {
    let [_, top_k] = indices.shape().dims();
    let chosen = integers(indices);
    let mut offsets = vec![0i32; n_experts + 1];
    for &expert in chosen.iter() {
        let n_rows = usize::try_from(expert)
            .ok()
            .and_then(|e| offsets.get_mut(e + 1));
        *n_rows.unwrap_or_else(|| panic!("expert {expert} of {n_experts}")) += 1;
    }
    for expert in 0..n_experts {
        offsets[expert + 1] += offsets[expert];
    }
    let mut next = offsets.clone();
    let mut order = vec![0i32; chosen.len()];
    for (choice, &expert) in (0..).zip(chosen.iter()) {
        let row = &mut next[expert as usize];
        order[*row as usize] = choice;
        *row += 1;
    }
    ExpertRoutes {
        order: list(order),
        offsets: list(offsets),
        top_k,
    }
}

fn list(values: Vec<i32>) -> FlexTensor {
    let len = values.len();
    tensor(values, [len])
}

fn integers(tensor: &FlexTensor) -> Cow<'_, [i32]> {
    match tensor.dtype() {
        DType::I32 => elements(tensor),
        _ => match tensor.clone().into_data().try_into_vec_as() {
            Ok(values) => Cow::Owned(values),
            Err(error) => panic!("experts: {error}"),
        },
    }
}

/// [`ExpertRoutes`] on the host.
pub(super) struct Routes<'a> {
    order: Cow<'a, [i32]>,
    offsets: Cow<'a, [i32]>,
    top_k: usize,
}

/// The rows of one expert that has any.
#[derive(Clone)]
pub(super) struct Group<'a> {
    pub(super) expert: usize,
    pub(super) range: Range<usize>,
    /// The choice of each row.
    order: &'a [i32],
    top_k: usize,
}

impl<'a> Routes<'a> {
    pub(super) fn new(routes: &'a ExpertRoutes<Flex>) -> Self {
        Self {
            order: integers(&routes.order),
            offsets: integers(&routes.offsets),
            top_k: routes.top_k,
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.order.len()
    }

    pub(super) fn n_tokens(&self) -> usize {
        self.order.len() / self.top_k
    }

    pub(super) fn n_experts(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn order(&self) -> impl Iterator<Item = usize> {
        self.order.iter().map(|&choice| choice as usize)
    }

    pub(super) fn group(&self, expert: usize) -> Group<'_> {
        let range = self.offsets[expert] as usize..self.offsets[expert + 1] as usize;
        Group {
            expert,
            order: &self.order[range.clone()],
            range,
            top_k: self.top_k,
        }
    }

    /// Experts that have rows.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let groups = (0..self.n_experts()).map(|expert| self.group(expert));
        groups.filter(|group| !group.range.is_empty())
    }

    /// The experts that have rows, with their part of `rows`.
    pub(super) fn split<'r, T>(
        &self,
        mut rows: &'r mut [T],
        width: usize,
    ) -> Vec<(Group<'_>, &'r mut [T])> {
        let parts = self.groups().map(|group| {
            let (part, rest) = std::mem::take(&mut rows).split_at_mut(group.range.len() * width);
            rows = rest;
            (group, part)
        });
        parts.collect()
    }
}

impl Group<'_> {
    /// The choice of each row.
    pub(super) fn choices(&self) -> impl Iterator<Item = usize> {
        self.order.iter().map(|&choice| choice as usize)
    }

    /// The token of each row.
    pub(super) fn tokens(&self) -> impl Iterator<Item = usize> {
        self.choices().map(|choice| choice / self.top_k)
    }
}

/// Rows of all experts.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    values: &'a [f32],
    pub(super) width: usize,
    /// There is a row per token instead of one per choice.
    gathered: bool,
    scores: Option<&'a [f32]>,
}

impl<'a> Rows<'a> {
    /// Already in the order of the routing.
    pub(super) fn sorted(values: &'a [f32], width: usize) -> Self {
        Self {
            values,
            width,
            gathered: false,
            scores: None,
        }
    }

    /// Those of the tokens.
    pub(super) fn gathered(values: &'a [f32], width: usize) -> Self {
        Self {
            gathered: true,
            ..Self::sorted(values, width)
        }
    }

    /// Gathered rows times the score of their choice.
    pub(super) fn scaled(self, scores: &'a [f32]) -> Self {
        Self {
            scores: Some(scores),
            ..self
        }
    }

    /// The row of a token.
    pub(super) fn of_token(&self, token: usize) -> &'a [f32] {
        &self.values[token * self.width..][..self.width]
    }

    /// Those of one expert.
    pub(super) fn of(&self, group: &Group<'_>) -> Cow<'a, [f32]> {
        let Range { start, end } = group.range;
        if !self.gathered {
            return Cow::Borrowed(&self.values[start * self.width..end * self.width]);
        }
        let mut rows = Vec::with_capacity((end - start) * self.width);
        for (token, choice) in group.tokens().zip(group.choices()) {
            let row = self.of_token(token);
            match self.scores {
                None => rows.extend_from_slice(row),
                Some(scores) => rows.extend(row.iter().map(|value| scores[choice] * value)),
            }
        }
        Cow::Owned(rows)
    }
}
