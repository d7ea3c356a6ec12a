use proptest::prelude::*;

use super::*;

/// Tokens of a page here.
const PAGE: usize = 2;

fn realm(class: DataClass) -> Arc<Realm> {
    Arc::new(Realm { class, caller: None })
}

/// A sequence as its owner sees it.
struct Owner {
    realm: Arc<Realm>,
    tokens: Vec<u32>,
    table: Vec<PageId>,
}

/// Takes what is missing for all tokens, publishes every whole page, and gives how many pages were there.
fn compute(pool: &mut PagePool, realm: &Arc<Realm>, tokens: &[u32]) -> Option<(Owner, usize)> {
    let mut table = pool.begin(realm, tokens);
    let found = table.len();
    while table.len() * PAGE < tokens.len() {
        match pool.take() {
            Some(page) => table.push(page),
            None => {
                pool.release(&mut table);
                return None;
            }
        }
    }
    for (at, tokens) in tokens.chunks_exact(PAGE).enumerate() {
        table[at] = pool.publish(realm, at.checked_sub(1).map(|at| table[at]), tokens, table[at]);
    }
    Some((Owner { realm: Arc::clone(realm), tokens: tokens.to_vec(), table }, found))
}

fn found(pool: &mut PagePool, realm: &Arc<Realm>, tokens: &[u32]) -> usize {
    let mut table = pool.begin(realm, tokens);
    let found = table.len();
    pool.release(&mut table);
    found
}

#[test]
fn a_prefix_is_found_again_in_whole_pages_and_in_its_realm_alone() {
    let (internal, public) = (realm(DataClass::Internal), realm(DataClass::Public));
    let own = |name: &str| Arc::new(Realm { class: DataClass::Internal, caller: Some(name.into()) });
    let mut pool = PagePool::new(8, PAGE);
    let (mut first, _) = compute(&mut pool, &internal, &[1, 2, 3, 4, 5]).expect("there is room");
    for (realm, tokens, expected) in [
        (&internal, &[1, 2, 3, 4, 5][..], 2),
        (&internal, &[1, 2, 9, 9], 1),
        (&internal, &[3, 4], 0),
        (&internal, &[1], 0),
        (&public, &[1, 2, 3, 4], 0),
        (&own("a"), &[1, 2, 3, 4], 0),
    ] {
        assert_eq!(found(&mut pool, realm, tokens), expected, "{realm:?} {tokens:?}");
    }
    pool.release(&mut first.table);
    assert_eq!(pool.available(), 8);
    assert_eq!(found(&mut pool, &internal, &[1, 2, 3, 4]), 2, "it stays when nobody has it");
}

#[test]
fn the_least_recently_used_is_forgotten_first_and_the_last_page_of_it_before_the_others() {
    let class = realm(DataClass::Internal);
    let mut pool = PagePool::new(4, PAGE);
    for tokens in [[1, 1, 1, 1], [2, 2, 2, 2]] {
        let (mut owner, _) = compute(&mut pool, &class, &tokens).expect("there is room");
        pool.release(&mut owner.table);
    }
    assert_eq!(found(&mut pool, &class, &[1, 1, 1, 1]), 2, "which makes the second the older one");
    pool.take().expect("two are idle");
    assert_eq!(found(&mut pool, &class, &[2, 2, 2, 2]), 1);
    assert_eq!(found(&mut pool, &class, &[1, 1, 1, 1]), 2);
}

#[test]
fn two_that_compute_the_same_page_end_with_one() {
    let class = realm(DataClass::Internal);
    let mut pool = PagePool::new(4, PAGE);
    let (a, b) = (pool.take().expect("free"), pool.take().expect("free"));
    assert_eq!(pool.publish(&class, None, &[1, 2], a), a);
    assert_eq!(pool.publish(&class, None, &[1, 2], b), a);
    assert_eq!(pool.available(), 3);
    pool.release(&mut vec![a]);
    pool.release(&mut vec![a]);
    assert_eq!(pool.available(), 4);
}

#[test]
fn nothing_is_taken_where_all_is_owned() {
    let mut pool = PagePool::new(1, PAGE);
    assert!(pool.take().is_some());
    assert_eq!((pool.take(), pool.available(), pool.made()), (None, 0, 1));
}

/// Every page is spare, idle or owned, by exactly the tables that hold it; a named page can be reached from its start.
fn check(pool: &PagePool, owners: &[Owner]) {
    let owned = |id: usize| owners.iter().flat_map(|owner| &owner.table).filter(|page| page.0 as usize == id).count();
    for (id, page) in pool.pages.iter().enumerate() {
        let this = PageId(id as u32);
        assert_eq!(page.owners as usize, owned(id));
        let spare = pool.spare.iter().filter(|&&other| other == this).count();
        let idle = pool.idle.values().filter(|&&other| other == this).count();
        assert_eq!(spare + idle + usize::from(page.owners > 0), 1, "a page is in one place");
        if let Some(name) = &page.name {
            assert_eq!(pool.named.get(name), Some(&this));
            if let Before::Page(number) = name.before {
                let before = pool.pages.iter().find(|page| page.name.is_some() && page.number == number);
                assert!(before.is_some(), "a page is never left without those before it");
            }
        }
    }
    assert_eq!(pool.owned, pool.pages.iter().filter(|page| page.owners > 0).count());
    let named = pool.pages.iter().filter(|page| page.name.is_some());
    assert_eq!(pool.prefixes.len(), named.count(), "what others read is what there is");
    assert_eq!(pool.named.len(), pool.pages.iter().filter(|page| page.name.is_some()).count());
    assert!(pool.pages.len() <= pool.capacity);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_page_is_free_or_owned_and_holds_what_its_name_says(
        capacity in 1usize..12,
        turns in prop::collection::vec((0usize..3, prop::collection::vec(0u32..2, 1..9), any::<bool>()), 1..40),
    ) {
        let realms = [realm(DataClass::Public), realm(DataClass::Restricted)];
        let mut pool = PagePool::new(capacity, PAGE);
        let mut owners: Vec<Owner> = Vec::new();
        // What each page holds from the start of its sequence, and in which realm.
        let mut contents: HashMap<PageId, (Arc<Realm>, Vec<u32>)> = HashMap::new();
        for (which, tokens, leaves) in turns {
            if leaves && !owners.is_empty() {
                let mut owner = owners.swap_remove(which % owners.len());
                pool.release(&mut owner.table);
            } else if let Some((owner, found)) = compute(&mut pool, &realms[which % 2], &tokens) {
                for (at, page) in owner.table.iter().enumerate() {
                    let held = (Arc::clone(&owner.realm), owner.tokens[..tokens.len().min((at + 1) * PAGE)].to_vec());
                    if at < found {
                        prop_assert_eq!(contents.get(page), Some(&held));
                    }
                    contents.insert(*page, held);
                }
                owners.push(owner);
            }
            check(&pool, &owners);
            // The last token of a prompt is computed in any case: with one more the whole of it may be there.
            let prompt = [&tokens[..], &[9]].concat();
            let told = pool.prefixes.cached_tokens(&realms[which % 2], &prompt);
            prop_assert_eq!(told, found(&mut pool, &realms[which % 2], &tokens) * PAGE);
        }
        owners.iter_mut().for_each(|owner| pool.release(&mut owner.table));
        prop_assert_eq!(pool.available(), capacity);
    }
}
