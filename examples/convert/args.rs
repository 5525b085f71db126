//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn_fp4::{Fp4Scheme, Nvfp4ScaleRule, ScaleRule};
use burn_gpt_oss::ConvertTarget;
use clap::Parser;
use clap::builder::PossibleValuesParser;

/// Writes a gpt-oss checkpoint in another form, tensor by tensor: no model is built, and a 120b needs no
/// more memory than a 20b.
///
/// The source may be in MXFP4, NVFP4 (of ModelOpt or of compressed-tensors), BF16, F16 or F32, under the names of
/// transformers, of OpenAI's `original/` folder, or with one tensor per expert. What is stored alike in both is copied
/// byte for byte. A run that was stopped goes on with the same command.
#[derive(Clone, Debug, Parser)]
#[command(name = "convert", max_term_width = 100)]
pub struct Args {
    /// The checkpoint directory
    #[arg(value_name = "DIR")]
    pub source: PathBuf,
    /// The form to write
    #[arg(long, value_name = "FORM", value_parser = PossibleValuesParser::new(ConvertTarget::ALL.map(ConvertTarget::name)))]
    pub to: String,
    /// The directory to write; for gguf, the one that `model.gguf` is put into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A PEFT adapter of the source to merge; for mxfp4, nvfp4 and bf16
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// How scales are chosen where values are rounded: ceil, floor, even, mse for MXFP4 [default: ceil];
    /// nearest, mse, four_over_six for NVFP4 [default: nearest]
    #[arg(long, value_name = "RULE")]
    pub scale_rule: Option<String>,
    /// Largest size of one file of weights, in GB (10^9 bytes)
    #[arg(long, value_name = "GB", default_value_t = 5.0)]
    pub shard_gb: f64,
    /// Replace a directory that is not empty
    #[arg(long)]
    pub overwrite: bool,
}

impl Args {
    pub fn target(&self) -> Result<ConvertTarget> {
        match ConvertTarget::from_name(&self.to) {
            Some(target) => Ok(target),
            None => bail!("--to: there is no form `{}`", self.to),
        }
    }

    pub fn shard_bytes(&self) -> Result<u64> {
        match self.shard_gb > 0.0 && self.shard_gb < 1e6 {
            true => Ok((self.shard_gb * 1e9) as u64),
            false => bail!(
                "--shard-gb: {} is no size, expected 0.001 to 1000000",
                self.shard_gb
            ),
        }
    }

    /// The scheme that matrices are rounded with; none for BF16.
    pub fn scheme(&self) -> Result<Option<Fp4Scheme>> {
        let scheme = self.target()?.scheme();
        let Some(rule) = &self.scale_rule else {
            return Ok(scheme);
        };
        let (known, scheme) = match scheme {
            None => bail!("--scale-rule: bf16 has no scales"),
            Some(Fp4Scheme::Mxfp4 { .. }) => {
                let rules = [
                    ScaleRule::Ceil,
                    ScaleRule::Floor,
                    ScaleRule::Even,
                    ScaleRule::Mse,
                ];
                let found = rules.into_iter().find(|known| named(known, rule));
                ("ceil, floor, even or mse", found.map(Fp4Scheme::mxfp4_with))
            }
            Some(_) => {
                let rules = [
                    Nvfp4ScaleRule::Nearest,
                    Nvfp4ScaleRule::Mse,
                    Nvfp4ScaleRule::FourOverSix,
                ];
                let found = rules.into_iter().find(|known| named(known, rule));
                (
                    "nearest, mse or four_over_six",
                    found.map(Fp4Scheme::nvfp4_with),
                )
            }
        };
        match scheme {
            Some(scheme) => Ok(Some(scheme)),
            None => bail!(
                "--scale-rule: `{rule}` is no rule of {}, expected {known}",
                self.to
            ),
        }
    }
}

/// Whether a rule is written like this in recipes.
fn named(rule: &impl serde::Serialize, text: &str) -> bool {
    serde_json::to_value(rule).is_ok_and(|name| name == text)
}
