// SPDX-License-Identifier: MIT OR Apache-2.0

//! What computes networks: a trait, a file for each, and one list.

use std::{fmt, ops::Deref};

use super::provider::Provider;

mod cpu;
#[cfg(feature = "nvidia")]
mod cuda;
mod execution_provider;
#[cfg(not(feature = "nvidia"))]
mod left_out;
mod native;
mod openvino;
#[cfg(feature = "nvidia")]
mod tensorrt;

pub use execution_provider::{AsExported, Capabilities, ExecutionProvider};

impl Deref for Provider {
    type Target = dyn ExecutionProvider;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Cpu => &cpu::Cpu,
            Self::OpenVino => &openvino::OpenVino,
            Self::Native => &native::Native,
            #[cfg(feature = "nvidia")]
            Self::Cuda => &cuda::Cuda,
            #[cfg(feature = "nvidia")]
            Self::TensorRt => &tensorrt::TensorRt,
            #[cfg(not(feature = "nvidia"))]
            Self::Cuda => &left_out::LeftOut { provider: Self::Cuda, name: "CUDA" },
            #[cfg(not(feature = "nvidia"))]
            Self::TensorRt => &left_out::LeftOut { provider: Self::TensorRt, name: "TensorRT" },
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_in_the_list_once_and_answers_for_itself() {
        for (index, provider) in Provider::ALL.into_iter().enumerate() {
            assert_eq!(provider.provider(), provider);
            assert!(provider.precisions().contains(&provider.default_precision()));
            assert!(!Provider::ALL[..index].contains(&provider));
        }
        assert_eq!(
            Provider::ALL.map(|provider| provider.to_string()),
            ["TensorRT", "CUDA", "OpenVINO", "native", "CPU"]
        );
    }
}
