//! What each token goes through alone.

/// The feed-forward part of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedForwardSpec {
    /// One for all tokens.
    Dense(MlpSpec),
    /// Some of many, chosen for each token.
    Experts(ExpertsSpec),
    /// Both side by side, each between norms of its own; the router has a norm and scales too (Gemma 4).
    Beside(MlpSpec, ExpertsSpec),
}

/// Two or three projections: `down(f(gate(x)) * up(x))`, or `down(f(up(x)))` without a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlpSpec {
    /// Width between the projections.
    pub inner: usize,
    /// What stands between them.
    pub activation: Activation,
    /// Whether there is a gate.
    pub gated: bool,
    /// Whether its projections have biases.
    pub bias: bool,
}

/// The function between the projections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)`.
    Gelu,
    /// The same by its approximation with a hyperbolic tangent.
    GeluTanh,
    /// The same of what exceeds the mean of its row by so many deviations, zero for the rest.
    GeluTanhAbove {
        /// How many.
        deviations: f32,
    },
    /// Gate at most `limit`, up within ± `limit`, then `silu(gate) · up` (DeepSeek V4).
    ClampedSilu {
        /// Where both are cut off.
        limit: f32,
    },
    /// Its approximation with a sigmoid: `x · sigmoid(1.702 x)`.
    GeluQuick,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    ReluSquared,
    /// gpt-oss: gate at most `limit`, up within ± `limit`, then `gate · sigmoid(alpha · gate) · (up + 1)`.
    ClampedSwish {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// Where both are cut off.
        limit: f32,
    },
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsSpec {
    /// Experts there are.
    pub count: usize,
    /// Experts that a token goes through, at most `count`.
    pub chosen: usize,
    /// Each of them.
    pub expert: MlpSpec,
    /// How they are chosen.
    pub router: RouterSpec,
    /// One that every token goes through.
    pub shared: Option<MlpSpec>,
    /// What the shared one's answer is multiplied by; 1 in most.
    pub shared_scale: f32,
    /// Whether what the shared one gives is multiplied by a learned gate between 0 and 1.
    pub shared_gate: bool,
}

/// How a token's experts are chosen and weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterSpec {
    /// How scores become weights.
    pub scoring: Scoring,
    /// Whether the scores have a bias.
    pub bias: bool,
    /// Whether weights have a bias that counts in the choice alone.
    pub choice_bias: bool,
    /// Experts of the best groups only.
    pub groups: Option<GroupsSpec>,
    /// Whether the weights of the chosen are divided by their sum.
    pub renormalise: bool,
    /// What weights are multiplied by.
    pub scale: f32,
    /// Whether a stored table says for each token which experts it goes through; scores weigh them alone.
    pub by_token: bool,
    /// Whether the weight multiplies what goes into an expert, not what comes out.
    pub weighs_input: bool,
}

impl RouterSpec {
    /// A router without biases, groups and scale.
    pub const fn of(scoring: Scoring) -> Self {
        Self {
            scoring,
            bias: false,
            choice_bias: false,
            groups: None,
            renormalise: false,
            scale: 1.0,
            by_token: false,
            weighs_input: false,
        }
    }
}

/// How scores become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scoring {
    /// Softmax over all experts.
    Softmax,
    /// Softmax over the chosen.
    SoftmaxOfChosen,
    /// Each by itself.
    Sigmoid,
    /// Each by itself, as the root of its softplus.
    SqrtSoftplus,
    /// SparseMixer (<https://arxiv.org/abs/2409.12136>): the best and the second best, each weighed by a softmax over
    /// those that come close to it by `2 · jitter`.
    SparseMixer {
        /// How close.
        jitter: f32,
    },
}

/// Experts come in groups of equal size, and only the best groups count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupsSpec {
    /// Groups there are.
    pub count: usize,
    /// Groups that count.
    pub chosen: usize,
    /// A group is as good as its so many best experts together.
    pub best: usize,
}

impl FeedForwardSpec {
    /// The widest row between projections that a token has at once.
    pub fn inner_width(&self) -> usize {
        match self {
            Self::Dense(mlp) => mlp.inner,
            Self::Experts(experts) => experts.inner_width(),
            Self::Beside(mlp, experts) => mlp.inner.max(experts.inner_width()),
        }
    }

    /// The experts there are.
    pub(crate) fn experts(&self) -> Option<&ExpertsSpec> {
        match self {
            Self::Dense(_) => None,
            Self::Experts(experts) | Self::Beside(_, experts) => Some(experts),
        }
    }
}

impl ExpertsSpec {
    fn inner_width(&self) -> usize {
        (self.chosen * self.expert.inner).max(self.shared.map_or(0, |shared| shared.inner))
    }
}
