//! Who gets room, and where it comes from.

use super::{Action, ModelIndex, Residents, Stage, Terms, Time, Waiter, Why};

impl Residents {
    /// Gives room to whoever waits longest, and models to whoever waits for one that is there.
    pub(super) fn settle(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.settled_at = now;
        self.models.iter_mut().for_each(|resident| resident.closed = false);
        // Of what is free, and of what will be, what those before in the queue have claimed.
        let mut claimed = 0_u64;
        let mut settled: Vec<ModelIndex> = Vec::new();
        for place in 0..self.queue.len() {
            let waiter = self.queue[place];
            let model = waiter.model;
            if self.models[model.0].stage != Stage::Unloaded || settled.contains(&model) {
                continue;
            }
            settled.push(model);
            let Terms { bytes, pinned, .. } = self.models[model.0].terms;
            let free = self.free_for(model);
            let coming = free.saturating_add(self.leaving());
            let wanted = claimed.saturating_add(bytes);
            // What is kept for a pinned one nobody else can claim.
            if bytes <= free && (pinned || wanted <= coming) {
                self.models[model.0].stage = Stage::Loading;
                actions.push(Action::Load(model));
                continue;
            }
            let is_made = self.make_room(wanted.saturating_sub(coming), actions);
            if is_made || self.claims_at(&waiter) <= now {
                claimed = wanted;
            }
            if !is_made && self.claims_at(&waiter) <= now {
                self.close(wanted.saturating_sub(coming));
            }
        }
        for index in 0..self.models.len() {
            let resident = &self.models[index];
            if resident.stage == Stage::Ready && !resident.closed && resident.waiting > 0 {
                self.admit(ModelIndex(index), now, actions);
            }
        }
    }

    /// Bytes that a model can have: what pinned ones take is kept for them also while they are away, for which they have
    /// to die.
    fn free_for(&self, model: ModelIndex) -> u64 {
        let kept = self
            .models
            .iter()
            .enumerate()
            .filter(|&(index, resident)| resident.terms.pinned && !resident.holds_room() && index != model.0);
        let kept = kept.map(|(_, resident)| resident.terms.bytes).fold(0, u64::saturating_add);
        self.budget.saturating_sub(self.held().saturating_add(kept))
    }

    /// Bytes of models that are on their way out, and that others can have.
    fn leaving(&self) -> u64 {
        let leaving = self.models.iter().filter(|it| it.stage == Stage::Unloading && !it.terms.pinned);
        leaving.map(|resident| resident.terms.bytes).fold(0, u64::saturating_add)
    }

    /// Unloads models that nobody uses, the one used longest ago first, where they make so much room together.
    fn make_room(&mut self, bytes: u64, actions: &mut Vec<Action>) -> bool {
        let mut idle: Vec<usize> = (0..self.models.len()).filter(|&index| self.models[index].may_go()).collect();
        idle.sort_by_key(|&index| self.models[index].used_at);
        let mut made = 0_u64;
        let needed = idle.iter().take_while(|&&index| {
            let is_short = made < bytes;
            made = made.saturating_add(if is_short { self.models[index].terms.bytes } else { 0 });
            is_short
        });
        let needed = needed.count();
        if made < bytes {
            return false;
        }
        for &index in &idle[..needed] {
            self.models[index].stage = Stage::Unloading;
            actions.push(Action::Unload(ModelIndex(index)));
        }
        true
    }

    /// Closes models that are in use to new requests, the one that came in longest ago first, until they make so much
    /// room together with those that are not in use.
    fn close(&mut self, bytes: u64) {
        let mut ready: Vec<usize> =
            (0..self.models.len()).filter(|&index| self.models[index].may_be_closed()).collect();
        ready.sort_by_key(|&index| (self.models[index].users > 0, self.models[index].loaded_at));
        let mut made = 0_u64;
        for index in ready {
            if made >= bytes {
                break;
            }
            made = made.saturating_add(self.models[index].terms.bytes);
            self.models[index].closed = true;
        }
    }

    /// Gives a model that is there to all who wait for it.
    pub(super) fn admit(&mut self, model: ModelIndex, now: Time, actions: &mut Vec<Action>) {
        let resident = &mut self.models[model.0];
        self.queue.retain(|waiter| {
            if waiter.model != model {
                return true;
            }
            resident.users += 1;
            resident.waiting -= 1;
            resident.used_at = now;
            actions.push(Action::Admit(waiter.ticket, model));
            false
        });
    }

    pub(super) fn refuse(&mut self, actions: &mut Vec<Action>, mut why: impl FnMut(&Waiter) -> Option<Why>) {
        let models = &mut self.models;
        self.queue.retain(|waiter| {
            let Some(why) = why(waiter) else { return true };
            models[waiter.model.0].waiting -= 1;
            actions.push(Action::Refuse(waiter.ticket, waiter.model, why));
            false
        });
    }
}
