//! Products of runs of rows in one piece of work are those of each run by itself, and rows that are filled are those that
//! are prepared and then rounded.

use weighbridge_kernels::{Cpu, Layout, Needs, PackedMatrix, Part, Product, Rounding, Rows, Then};

/// Numbers that look random and are the same each time.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 20_011) as f32 / 10_000.0 - 1.0).collect()
}

fn matrix(layout: Layout, outputs: usize, inputs: usize, cpu: &Cpu) -> PackedMatrix {
    let numbers = numbers(outputs * inputs, outputs);
    let bytes: Vec<u8> = match layout {
        Layout::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        // A scale of one in half precision, and codes.
        _ => numbers
            .chunks_exact(32)
            .flat_map(|block| [0, 0x3c].into_iter().chain(block.iter().map(|number| (number * 127.0) as i8 as u8)))
            .collect(),
    };
    PackedMatrix::pack(layout, outputs, inputs, &bytes, cpu).expect("sizes fit")
}

fn rows(count: usize, width: usize, seed: usize, cpu: &Cpu) -> Rows {
    let x = numbers(count * width, seed);
    let mut rows = Rows::new();
    let needs = Needs::new(Rounding::Bits16, Layout::Q8_0);
    rows.fill(cpu, (count, width), needs, |row, to| to.copy_from_slice(&x[row * width..][..width]));
    rows
}

#[test]
fn runs_of_rows_come_out_as_by_themselves() {
    for threads in [1, 2, 3] {
        let cpu = Cpu::new(threads, None).expect("the best tier is available");
        let (many, few) = (rows(40, 64, 1, &cpu), rows(2, 96, 2, &cpu));
        let shapes = [
            (&many, 0..1, Layout::Q8_0, 33),
            (&many, 1..1, Layout::Q8_0, 16),
            (&many, 1..40, Layout::F32, 70),
            (&few, 1..2, Layout::Q8_0, 1),
            (&many, 7..12, Layout::Q8_0, 400),
            (&few, 0..2, Layout::Q8_0, 17),
        ];
        let matrices = shapes.clone().map(|(rows, _, layout, outputs)| matrix(layout, outputs, rows.width(), &cpu));
        let then = |at: usize| if at.is_multiple_of(2) { Then::Store } else { Then::Add(0.5) };

        let mut found = shapes.clone().map(|(_, range, _, outputs)| vec![1.0; range.len() * outputs]);
        let parts = shapes.iter().zip(&matrices).zip(&mut found).enumerate();
        cpu.products(parts.map(|(at, (((rows, range, ..), matrix), to))| Part {
            rows,
            range: range.clone(),
            product: Product { then: then(at), ..Product::new(matrix, to) },
        }));

        for (at, ((all, range, _, outputs), found)) in shapes.into_iter().zip(found).enumerate() {
            let width = all.width();
            let mut own = Rows::new();
            own.prepare(range.len(), width).copy_from_slice(&all.plain_rows()[range.start * width..range.end * width]);
            own.round(Needs::new(Rounding::Bits16, Layout::Q8_0), &cpu);
            let mut to = vec![1.0; range.len() * outputs];
            cpu.product(&own, &mut [Product { then: then(at), ..Product::new(&matrices[at], &mut to) }]);
            assert_eq!(found, to, "run {at} on {threads} threads");
        }
    }
}

#[test]
fn lists_of_rows_that_belong_together_are_given_row_by_row() {
    let cpu = Cpu::new(3, None).expect("the best tier is available");
    for count in [0, 1, 5, 3000] {
        let (mut narrow, mut wide) = (vec![0.0; count], vec![0.0; count * 7]);
        cpu.each_rows([&mut narrow, &mut wide], [1, 7], |row, [narrow, wide]| {
            narrow[0] += row as f32;
            wide.iter_mut().for_each(|x| *x += narrow[0] + 1.0);
        });
        assert!(narrow.iter().enumerate().all(|(row, &x)| x == row as f32));
        assert!(wide.iter().enumerate().all(|(at, &x)| x == (at / 7) as f32 + 1.0));
    }
}

#[test]
#[should_panic = "as long"]
fn lists_that_do_not_belong_together_are_refused() {
    let cpu = Cpu::new(1, None).expect("the best tier is available");
    cpu.each_rows([&mut [0.0; 4], &mut [0.0; 6]], [2, 2], |_, _| ());
}
