//! The memory of lists whose elements borrow, kept from one use to the next.

/// The memory of `list` for elements that borrow from elsewhere: an empty list that takes no memory of its own, where
/// both kinds of elements are of one size and alignment.
///
/// ```
/// let mut kept: Vec<&'static str> = Vec::with_capacity(8);
/// for line in ["one".to_owned(), "two".to_owned()] {
///     let mut words: Vec<&str> = weighbridge_kernels::emptied(kept);
///     words.extend(line.split('n'));
///     kept = weighbridge_kernels::emptied(words);
/// }
/// assert!(kept.is_empty() && kept.capacity() >= 8);
/// ```
pub fn emptied<From, To>(mut list: Vec<From>) -> Vec<To> {
    list.clear();
    // The standard library collects in place, and there is nothing to convert.
    list.into_iter().map(|_| unreachable!("the list is empty")).collect()
}
