//! What is written by hand in `kernels` beside what libraries have: products beside `matrixmultiply` and
//! libtorch on one thread, and the thread pool beside rayon on two. `cargo bench --bench libraries`
//!
//! Sizes of products are those of the published experiments: a block's rows times the recurrent kernel, or a
//! part's columns of it, which is added to the gates, and the sum of that kernel's gradient over all time steps.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::experiments;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use seqlab::config::Config;
use seqlab::engine::fused::{block_ranges, split};
use seqlab::kernels::product::{Matrix, Onto, Order, multiply};
use seqlab::kernels::thread_pool::ThreadPool;
use seqlab::tensor::device;
use tch::Tensor;

/// `out` `(M, N)` += a · b, or aᵀ · b where a is stored with rows and columns exchanged.
#[derive(Clone, Copy)]
struct Product {
    m: usize,
    k: usize,
    n: usize,
    transposed: bool,
}

/// Its factors and its sum, row-major.
struct Numbers {
    a: Vec<f32>,
    b: Vec<f32>,
    out: Vec<f32>,
}

impl Product {
    fn numbers(self) -> Numbers {
        let numbers = |n: usize| (0..n).map(|i| (i * 7919 % 201) as f32 * 1e-3 - 0.1).collect();
        let Self { m, k, n, .. } = self;
        Numbers { a: numbers(m * k), b: numbers(k * n), out: numbers(m * n) }
    }

    fn by_seqlab(self, Numbers { a, b, out }: &mut Numbers) {
        let a = match self.transposed {
            true => Matrix::new(a, self.m).transposed(),
            false => Matrix::new(a, self.k),
        };
        multiply(a, Matrix::new(b, self.n), out, Onto::Sum, Order::Up);
    }

    fn by_matrixmultiply(self, Numbers { a, b, out }: &mut Numbers) {
        let Self { m, k, n, transposed } = self;
        let (row, column) = if transposed { (1, m as isize) } else { (k as isize, 1) };
        let n_stride = n as isize;
        // SAFETY: the three hold as many numbers as their sizes say, and only `out` is written.
        unsafe {
            matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr(),
                row,
                column,
                b.as_ptr(),
                n_stride,
                1,
                1.0,
                out.as_mut_ptr(),
                n_stride,
                1,
            );
        }
    }

    /// The factors and the sum as tensors.
    fn tensors(self, numbers: &Numbers) -> [Tensor; 3] {
        let [m, k, n] = [self.m, self.k, self.n].map(|size| size as i64);
        let a = Tensor::from_slice(&numbers.a);
        let a = if self.transposed { a.view([k, m]).tr() } else { a.view([m, k]) };
        [
            a,
            Tensor::from_slice(&numbers.b).view([k, n]),
            Tensor::from_slice(&numbers.out).view([m, n]),
        ]
    }
}

/// The two products of `config` that take most of a step.
fn products(config: &Config) -> [(&'static str, Product); 2] {
    let (units, model) = (config.units as usize, split::model(config));
    let blocks = block_ranges(&model, config.batch_size as usize);
    let rows = blocks.map(|rows| rows.len()).max().unwrap_or(0);
    let (summed, gates) = (rows * (config.n_in as usize - 1), 4 * units / model.parts());
    [
        ("time step", Product { m: rows, k: units, n: gates, transposed: false }),
        ("weight gradient", Product { m: units, k: summed, n: gates, transposed: true }),
    ]
}

fn compare(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, product: Product) {
    let Product { m, k, n, .. } = product;
    group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
    let mut numbers = product.numbers();
    group.bench_function(format!("{name}, seqlab"), |b| b.iter(|| product.by_seqlab(&mut numbers)));
    group.bench_function(format!("{name}, matrixmultiply"), |b| {
        b.iter(|| product.by_matrixmultiply(&mut numbers));
    });
    let [a, b_tensor, mut out] = product.tensors(&product.numbers());
    group.bench_function(format!("{name}, libtorch"), |b| {
        b.iter(|| out.addmm_(&a, &b_tensor));
    });
}

fn product(criterion: &mut Criterion) {
    device::set_threads(1);
    let _guard = tch::no_grad_guard();
    for (experiment, config) in experiments() {
        let mut group = criterion.benchmark_group(format!("libraries/{experiment}"));
        for (name, product) in products(&config) {
            compare(&mut group, name, product);
        }
        group.finish();
    }
}

/// A thread's sum, on cache lines of its own: processors fetch two at a time.
#[derive(Clone, Copy, Default)]
#[repr(align(128))]
struct Sum(f32);

/// About what a thread does between two meetings in a small model.
fn work(Sum(sum): &mut Sum) {
    for i in 0..2_000 {
        *sum = black_box(*sum + i as f32);
    }
}

/// Time of `count` jobs of one item for each of two threads.
fn timed(count: u64, mut job: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..count).for_each(|_| job());
    start.elapsed()
}

fn team(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("libraries/threads");
    let mut sums = [Sum::default(); 2];
    group.bench_function("one item, no thread", |b| b.iter(|| work(&mut sums[0])));
    let pool = ThreadPool::new(2);
    group.bench_function("an item each, seqlab", |b| {
        b.iter_custom(|count| timed(count, || pool.each(&mut sums, work)));
    });
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    group.bench_function("an item each, rayon", |b| {
        // The caller is one of the two, as it is of seqlab's.
        b.iter_custom(|count| {
            pool.install(|| timed(count, || sums.par_iter_mut().with_max_len(1).for_each(work)))
        });
    });
    group.finish();
}

criterion_group!(benches, product, team);
criterion_main!(benches);
