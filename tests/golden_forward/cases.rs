use burn::tensor::{Device, Tensor};
use burn_gpt_oss::{BlockOutput, GptOss, router_aux_loss};

use crate::deviation::Deviations;
use crate::golden::Golden;
use crate::model::{Batch, cross_entropy, scalar, token_nll, values};

/// Bar for logits, hidden states and the router.
const HIDDEN: f64 = 2e-4;
/// Bar for losses, means over tokens.
const LOSS: f64 = 1e-5;
/// Bar for the loss of one token, a difference of logits: those of the data are up to 1.1e-5 away from
/// float64 arithmetic (see its README), and 1e-5 are left for ours.
const TOKEN_LOSS: f64 = 2.1e-5;

/// Everything a forward pass computes.
struct Pass {
    embed: Tensor<3>,
    blocks: Vec<BlockOutput>,
    normed: Tensor<3>,
    logits: Tensor<3>,
}

impl Pass {
    fn run(model: &GptOss, batch: &Batch, device: &Device) -> Self {
        let mut blocks = Vec::new();
        let (ids, mask) = (batch.ids(device), batch.mask(device));
        let normed =
            model.hidden_states(ids.clone(), Some(mask), |block| blocks.push(block.clone()));
        let logits = model.logits(normed.clone());
        Self {
            embed: model.embedded(ids),
            blocks,
            normed,
            logits,
        }
    }
}

/// One case of the expected file.
struct Case<'a> {
    name: &'a str,
    expected: &'a Golden,
    batch: Batch,
    pass: Pass,
    deviations: Deviations,
}

pub fn check(form: &str, model: &GptOss, expected: &Golden, name: &str, device: &Device) {
    let batch = Batch::read(expected, name);
    let pass = Pass::run(model, &batch, device);
    let deviations = Deviations::new(&format!("{form}, case {name}"));
    let mut case = Case {
        name,
        expected,
        batch,
        pass,
        deviations,
    };
    case.check_logits(model, device);
    case.check_hidden_states();
    case.check_losses(model, device);
}

impl Case<'_> {
    /// Compares a tensor whose leading axes are tokens, where the token is real.
    fn compare<const D: usize>(&mut self, group: &str, key: &str, found: &Tensor<D>) {
        let key = format!("{}.{key}", self.name);
        let expected = self.expected.f32(&key);
        assert_eq!(found.dims().as_slice(), expected.shape, "shape of `{key}`");
        let (width, batch) = (expected.shape[D - 1], &self.batch);
        let pair = (&values(found)[..], &expected.values[..]);
        let is_real = |i| batch.is_real(i / width);
        self.deviations
            .compare_where(group, &key, pair, HIDDEN, is_real);
    }

    fn check_logits(&mut self, model: &GptOss, device: &Device) {
        let logits = self.pass.logits.clone();
        self.compare("logits", "logits", &logits);
        let whole = model.forward(self.batch.ids(device), Some(self.batch.mask(device)));
        assert!(
            values(&whole) == values(&logits),
            "forward() equals its parts"
        );
    }

    /// Everything between embedding and logits; the cases that lack one of them lack all.
    fn check_hidden_states(&mut self) {
        let prefixes = ["hidden.", "attn_out.", "moe_out.", "router_"];
        let has = |prefix: &&str| {
            !self
                .expected
                .keys(&format!("{}.{prefix}", self.name))
                .is_empty()
        };
        if !prefixes.iter().any(has) {
            return;
        }
        let (embed, normed) = (self.pass.embed.clone(), self.pass.normed.clone());
        self.compare("embedding", "hidden.embed", &embed);
        self.compare("final norm", "hidden.final_norm", &normed);
        for (layer, block) in self.pass.blocks.clone().iter().enumerate() {
            self.compare(
                "residual stream",
                &format!("hidden.layer{layer}"),
                &block.hidden,
            );
            self.compare(
                "attention",
                &format!("attn_out.layer{layer}"),
                &block.attention,
            );
            self.compare("experts", &format!("moe_out.layer{layer}"), &block.experts);
            self.compare(
                "router logits",
                &format!("router_logits.layer{layer}"),
                &block.router.logits,
            );
            self.compare(
                "router scores",
                &format!("router_scores.layer{layer}"),
                &block.router.scores,
            );
            self.check_indices(layer, block);
        }
    }

    fn check_indices(&self, layer: usize, block: &BlockOutput) {
        let key = format!("{}.router_indices.layer{layer}", self.name);
        let expected = self.expected.i64(&key);
        let found: Vec<i64> = block.router.indices.to_data().iter::<i64>().collect();
        let [tokens, top_k] = expected.dims();
        assert_eq!(
            block.router.indices.dims(),
            [tokens, top_k],
            "shape of `{key}`"
        );
        for token in (0..tokens).filter(|token| self.batch.is_real(*token)) {
            let row = token * top_k..(token + 1) * top_k;
            assert_eq!(
                found[row.clone()],
                expected.values[row],
                "`{key}`, token {token}"
            );
        }
    }

    fn check_losses(&mut self, model: &GptOss, device: &Device) {
        let aux = self.aux_loss(model, device);
        let expected = |key: &str| self.expected.f32(&format!("{}.{key}", self.name)).scalar();
        let compare_aux = (aux, f64::from(expected("aux_loss")));
        if let Some(labels) = &self.batch.labels {
            let ce = scalar(&cross_entropy(self.pass.logits.clone(), labels));
            let total = ce + model.config().router_aux_loss_coef * aux;
            let (ce_loss, total_loss) = (expected("ce_loss"), expected("total_loss"));
            self.deviations
                .scalar("cross entropy", ce, ce_loss.into(), LOSS);
            self.deviations
                .scalar("total loss", total, total_loss.into(), LOSS);
        }
        self.deviations
            .scalar("aux loss", compare_aux.0, compare_aux.1, LOSS);
        self.check_token_nll();
    }

    fn aux_loss(&self, model: &GptOss, device: &Device) -> f64 {
        let logits: Vec<_> = self
            .pass
            .blocks
            .iter()
            .map(|block| block.router.logits.clone())
            .collect();
        let top_k = model.config().num_experts_per_tok;
        let masked = scalar(&router_aux_loss(
            &logits,
            top_k,
            Some(self.batch.mask(device)),
        ));
        if (0..self.batch.attention_mask.values.len()).all(|token| self.batch.is_real(token)) {
            let unmasked = scalar(&router_aux_loss(&logits, top_k, None));
            assert!(
                (masked - unmasked).abs() <= LOSS,
                "a mask of ones changes the aux loss"
            );
        }
        masked
    }

    fn check_token_nll(&mut self) {
        let key = format!("{}.token_nll", self.name);
        if let Some(labels) = self
            .batch
            .labels
            .as_ref()
            .filter(|_| self.expected.has(&key))
        {
            let found = values(&token_nll(self.pass.logits.clone(), labels).0);
            let expected = self.expected.f32(&key).values;
            self.deviations
                .compare("loss per token", &key, (&found, &expected), TOKEN_LOSS);
        }
    }
}
