use proptest::prelude::*;

use super::*;

/// Tokens of a page here.
const PAGE: usize = 2;

fn realm(class: DataClass) -> Arc<Realm> {
    Arc::new(Realm { class, caller: None })
}

fn compute_by(pool: &mut PagePool, realm: &Arc<Realm>, tokens: &[u32], step: usize) -> Option<(Table, usize)> {
    compute_noting(pool, realm, tokens, step, &mut |_| ())
}

/// Takes what is missing for all tokens, computes them in steps of so many, and gives how many pages were there. `note`
/// sees the pages of each step.
fn compute_noting(
    pool: &mut PagePool,
    realm: &Arc<Realm>,
    tokens: &[u32],
    step: usize,
    note: &mut impl FnMut(&Table),
) -> Option<(Table, usize)> {
    // The last token is computed in any case.
    let mut table = pool.begin(realm, &tokens[..tokens.len() - 1]);
    let found = table.len();
    if !pool.has_room(&table, tokens.len(), 0) {
        pool.release(&mut table);
        return None;
    }
    while table.len() * PAGE < tokens.len() {
        assert!(pool.grow(&mut table), "there is room");
    }
    let mut computed = found * PAGE;
    while computed < tokens.len() {
        let end = tokens.len().min(computed + step);
        pool.cover(&mut table, end);
        note(&table);
        for at in computed / PAGE..end / PAGE {
            pool.publish(realm, &mut table, at, &tokens[at * PAGE..(at + 1) * PAGE]);
        }
        pool.pass(&mut table, end);
        computed = end;
    }
    Some((table, found))
}

fn compute(pool: &mut PagePool, realm: &Arc<Realm>, tokens: &[u32]) -> Option<(Table, usize)> {
    compute_by(pool, realm, tokens, tokens.len())
}

/// A page of its own, as of a sequence that begins with it.
fn taken(pool: &mut PagePool) -> Option<Table> {
    let mut table = Table::default();
    pool.grow(&mut table).then_some(table)
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
    pool.release(&mut first);
    assert_eq!(pool.available(), 8);
    assert_eq!(found(&mut pool, &internal, &[1, 2, 3, 4]), 2, "it stays when nobody has it");
}

#[test]
fn the_least_recently_used_is_forgotten_first_and_the_last_page_of_it_before_the_others() {
    let class = realm(DataClass::Internal);
    let mut pool = PagePool::new(4, PAGE);
    for tokens in [[1, 1, 1, 1], [2, 2, 2, 2]] {
        let (mut owner, _) = compute(&mut pool, &class, &tokens).expect("there is room");
        pool.release(&mut owner);
    }
    assert_eq!(found(&mut pool, &class, &[1, 1, 1, 1]), 2, "which makes the second the older one");
    taken(&mut pool).expect("two are idle");
    assert_eq!(found(&mut pool, &class, &[2, 2, 2, 2]), 1);
    assert_eq!(found(&mut pool, &class, &[1, 1, 1, 1]), 2);
}

#[test]
fn two_that_compute_the_same_page_end_with_one() {
    let class = realm(DataClass::Internal);
    let mut pool = PagePool::new(4, PAGE).with_windows(3, 8, 2);
    let [mut a, mut b] = [(); 2].map(|()| taken(&mut pool).expect("free"));
    for table in [&mut a, &mut b] {
        pool.cover(table, PAGE);
        pool.publish(&class, table, 0, &[1, 2]);
    }
    assert_eq!((&a.full, &a.windowed), (&b.full, &b.windowed));
    assert_eq!((pool.available(), pool.windowed().map(|it| it.used)), (3, Some(1)));
    pool.release(&mut a);
    pool.release(&mut b);
    assert_eq!((pool.available(), pool.windowed().map(|it| (it.used, it.unpromised))), (4, Some((0, 8))));
}

#[test]
fn nothing_is_taken_where_all_is_owned() {
    let mut pool = PagePool::new(1, PAGE);
    let table = taken(&mut pool);
    assert!(table.is_some_and(|table| table.len() == 1));
    assert_eq!((taken(&mut pool).is_none(), pool.available(), pool.made()), (true, 0, 1));
}

#[test]
fn nobody_begins_who_could_not_go_on_behind_its_window() {
    let class = realm(DataClass::Internal);
    // The window takes two pages, a step one, and one more for where they begin.
    let mut pool = PagePool::new(100, PAGE).with_windows(4, 8, 2);
    let first = compute_by(&mut pool, &class, &[1; 40], 2).expect("there is room").0;
    assert_eq!(first.windowed.len(), 2);
    let mut short = compute_by(&mut pool, &class, &[2; 6], 2).expect("four are left").0;
    assert!(compute_by(&mut pool, &class, &[3; 2], 2).is_none(), "what grows will take the last one");
    assert!(pool.grow(&mut short), "which is this");
    pool.release(&mut short);
    assert!(compute_by(&mut pool, &class, &[3; 2], 2).is_some());
}

#[test]
fn a_prefix_ends_at_the_last_border_before_which_the_window_is_there() {
    let class = realm(DataClass::Internal);
    let text: Vec<u32> = (0..20).collect();
    // A token sees two pages and one token more.
    let mut pool = PagePool::new(100, PAGE).with_windows(6, 7, 2);
    let mut first = compute_by(&mut pool, &class, &text, 2).expect("there is room").0;
    assert_eq!((first.passed, first.windowed.len()), (7, 3));
    pool.release(&mut first);
    // Seven pages are kept, the first three have gone.
    assert_eq!(found(&mut pool, &class, &text), 10);
    assert_eq!(found(&mut pool, &class, &text[..13]), 6, "what the seventh page begins with sees the fourth");
    assert_eq!(found(&mut pool, &class, &text[..11]), 0, "the third has gone");
    assert_eq!(pool.prefixes.cached_tokens(&class, &text[..12]), 0);
    let (mut again, there) = compute_by(&mut pool, &class, &text[..11], 2).expect("there is room");
    assert_eq!(there, 0);
    pool.release(&mut again);
    assert_eq!(found(&mut pool, &class, &text[..11]), 5, "it is attached again");
}

/// Every page is spare, idle or owned, by exactly the tables that hold it; a named page can be reached from its start.
fn check(pool: &PagePool, owners: &[Table]) {
    let tables: Vec<&Table> = owners.iter().collect();
    let owned = |id: usize| tables.iter().flat_map(|table| &table.full).filter(|page| page.0 as usize == id).count();
    if let Some(windowed) = &pool.windowed {
        windowed.check(&tables, |host| pool.pages[host.0 as usize].attachment);
    }
    for (id, page) in pool.pages.iter().enumerate() {
        let this = PageId(id as u32);
        assert_eq!(page.owners as usize, owned(id));
        let spare = pool.spare.iter().filter(|&&other| other == this).count();
        let idle = pool.idle.values().filter(|&&other| other == this).count();
        assert_eq!(spare + idle + usize::from(page.owners > 0), 1, "a page is in one place");
        assert!(page.attachment.is_none() || page.name.is_some(), "what is attached can be found");
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
        window in prop::option::of((1usize..8, 0usize..8)),
        step in 1usize..5,
        turns in prop::collection::vec((0usize..3, prop::collection::vec(0u32..2, 1..9), any::<bool>()), 1..40),
    ) {
        let realms = [realm(DataClass::Public), realm(DataClass::Restricted)];
        let mut pool = PagePool::new(capacity, PAGE);
        if let Some((window, more)) = window {
            let least = Window::new(window, PAGE).most_pages(step);
            pool = pool.with_windows(window, least + more, step);
        }
        let mut owners: Vec<Table> = Vec::new();
        // What each page holds from the start of its sequence, and in which realm.
        let mut contents: HashMap<PageId, (Arc<Realm>, Vec<u32>)> = HashMap::new();
        let mut of_windows: HashMap<WindowedId, (Arc<Realm>, Vec<u32>)> = HashMap::new();
        for (which, tokens, leaves) in turns {
            if leaves && !owners.is_empty() {
                let mut owner = owners.swap_remove(which % owners.len());
                pool.release(&mut owner);
            } else {
                let realm = &realms[which % 2];
                let held = |at: usize| (Arc::clone(realm), tokens[..tokens.len().min((at + 1) * PAGE)].to_vec());
                let mut found = pool.begin(realm, &tokens);
                for (at, page) in found.full.iter().enumerate() {
                    prop_assert_eq!(contents.get(page), Some(&held(at)));
                }
                if let Some((window, _)) = window {
                    let first = Window::new(window, PAGE).first_page(found.len() * PAGE);
                    prop_assert_eq!((found.passed, found.covered()), (first, found.len()));
                }
                for (at, page) in (found.passed..).zip(&found.windowed) {
                    prop_assert_eq!(of_windows.get(page), Some(&held(at)));
                }
                pool.release(&mut found);
                let mut note = |table: &Table| {
                    contents.extend(table.full.iter().enumerate().map(|(at, page)| (*page, held(at))));
                    of_windows.extend((table.passed..).zip(&table.windowed).map(|(at, page)| (*page, held(at))));
                };
                if let Some((owner, _)) = compute_noting(&mut pool, realm, &tokens, step, &mut note) {
                    owners.push(owner);
                }
            }
            check(&pool, &owners);
            // The last token of a prompt is computed in any case: with one more the whole of it may be there.
            let prompt = [&tokens[..], &[9]].concat();
            let told = pool.prefixes.cached_tokens(&realms[which % 2], &prompt);
            prop_assert_eq!(told, found(&mut pool, &realms[which % 2], &tokens) * PAGE);
        }
        owners.iter_mut().for_each(|owner| pool.release(owner));
        prop_assert_eq!(pool.available(), capacity);
        let counts = pool.windowed().unwrap_or_default();
        prop_assert_eq!((counts.used, counts.unpromised), (0, counts.capacity));
    }
}
