//! What a step computes of prompts.

use super::together::share;
use super::{Entry, SLICE, Scheduler, Work};

impl Scheduler {
    /// Tokens of prompts, in slices by turns, and in one piece for each sequence.
    pub(super) fn advance_prompts(&mut self, step: &mut Vec<Work>) {
        let answers = step.len();
        let mut budget = self.limits.pace.prompt_tokens(answers, self.running.len() - answers);
        self.chunks.clear();
        // Sequences that have all that this step may compute of them.
        let mut rest = Vec::new();
        while budget > 0 {
            let (sequences, singly) = (&self.sequences, self.limits.replays_singly);
            let slice = |id| share(sequences, id, singly).1.min(budget);
            let left = |id| sequences.get(&id).map_or(0, |entry| entry.tokens.len() - entry.computed);
            let Some(turn) = self.prompts.peek_by(slice, left) else { break };
            let (id, count) = (share(sequences, turn, singly).0, slice(turn));
            if count == 0 {
                // What it waits for is computed in this very step.
                self.prompts.remove(turn);
                continue;
            }
            let Some(entry) = self.sequences.get_mut(&id) else { break };
            let first = entry.computed;
            entry.computed += count;
            entry.decodes = entry.computed == entry.tokens.len();
            budget -= count;
            let in_step = match self.chunks.iter_mut().find(|work| work.id == id) {
                Some(work) => {
                    (work.count, work.draws) = (work.count + count, entry.decodes);
                    work.count
                }
                None => {
                    self.chunks.push(Work { id, first, count, draws: entry.decodes });
                    count
                }
            };
            if turn != id {
                self.prompts.put_back(count);
                if entry.decodes {
                    self.prompts.remove(id);
                }
                continue;
            }
            let rests = singly && entry.computed >= entry.prompt_tokens || in_step >= entry.most_in_step;
            if !entry.decodes && !rests {
                self.prompts.put_back(count);
                continue;
            }
            self.prompts.take(count);
            if !entry.decodes {
                rest.push(id);
            }
        }
        for id in rest {
            if let Some(entry) = self.sequences.get(&id) {
                self.prompts.push(&entry.caller, entry.priority, id);
            }
        }
        step.append(&mut self.chunks);
    }
}

impl Entry {
    /// Tokens of its next turn.
    pub(super) fn slice(&self, singly: bool) -> usize {
        let left = (self.tokens.len() - self.computed).min(self.most_in_step);
        match self.prompt_tokens.checked_sub(self.computed) {
            _ if !singly => left.min(SLICE),
            Some(prompt) if prompt > 0 => prompt.min(SLICE),
            _ => left.min(1),
        }
    }
}
