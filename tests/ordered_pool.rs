// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ordered pool: the order of jobs, their number, and that no wait is for ever.

use std::{
    io,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use gstretinaface::ordered_pool::OrderedPool;

/// Long enough for any thread to get where it is going.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to see that a thread waits.
const MOMENT: Duration = Duration::from_millis(50);

/// A pool of `workers` that do `work`.
fn pool(workers: usize, work: fn(&mut u64)) -> Arc<OrderedPool<u64>> {
    let work = move |jobs: &mut [u64]| jobs.iter_mut().for_each(work);
    Arc::new(OrderedPool::new((0..workers).map(|_| work), workers, 1).expect("threads"))
}

/// Delivers until the pool is closed; what was delivered.
fn deliver_all(pool: &Arc<OrderedPool<u64>>) -> mpsc::Receiver<u64> {
    let (sender, receiver) = mpsc::channel();
    let pool = Arc::clone(pool);
    thread::spawn(move || while pool.deliver(|job| sender.send(*job).expect("a receiver")) {});
    receiver
}

/// Whether `wait` comes back within [`PATIENCE`], and not before `then`.
fn waits_until(wait: impl FnOnce() + Send + 'static, then: impl FnOnce()) -> bool {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        wait();
        let _ = sender.send(());
    });
    let waited = receiver.recv_timeout(MOMENT).is_err();
    then();
    waited && receiver.recv_timeout(PATIENCE).is_ok()
}

#[test]
fn jobs_come_out_in_order() {
    let pool = pool(4, |job| thread::sleep(Duration::from_micros(*job * 37 % 5 * 100)));
    let delivered = deliver_all(&pool);
    for number in 0..500 {
        assert!(pool.push(|job| *job = number));
    }
    pool.drain();
    assert_eq!(delivered.try_iter().collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
}

#[test]
fn as_many_are_worked_on_at_once_as_there_are_workers() {
    let barrier = Arc::new(Barrier::new(3));
    let workers = (0..3).map(|_| {
        let barrier = Arc::clone(&barrier);
        move |_: &mut [u64]| {
            barrier.wait();
        }
    });
    let pool = Arc::new(OrderedPool::new(workers, 3, 1).expect("threads"));
    let delivered = deliver_all(&pool);
    for _ in 0..30 {
        assert!(pool.push(|_| ()));
    }
    pool.drain();
    assert_eq!(delivered.try_iter().count(), 30);
}

#[test]
fn a_worker_takes_what_waits_up_to_its_batch() {
    // The worker sends the jobs it has, and ends when it receives.
    let (send, batches) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let worker = move |jobs: &mut [u64]| {
        send.send(jobs.to_vec()).expect("a receiver");
        ended.recv_timeout(PATIENCE).expect("a sender");
    };
    let pool = Arc::new(OrderedPool::new([worker], 4, 3).expect("a thread"));
    let delivered = deliver_all(&pool);
    let push = |number| assert!(pool.push(|job| *job = number));
    let next_batch = || batches.recv_timeout(PATIENCE).expect("a batch");
    push(0);
    assert_eq!(next_batch(), [0], "it waits for no other");
    (1..6).for_each(push);
    end.send(()).expect("a worker");
    assert_eq!(next_batch(), [1, 2, 3], "not more than a batch");
    end.send(()).expect("a worker");
    assert_eq!(next_batch(), [4, 5]);
    end.send(()).expect("a worker");
    pool.drain();
    assert_eq!(delivered.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn workers_are_made_in_their_threads_or_not_at_all() {
    let made = Arc::new(AtomicUsize::new(0));
    let start = |fails: bool| {
        let makers = (0..3).map(|number| {
            let made = Arc::clone(&made);
            move || {
                if fails && number == 1 {
                    return Err(io::Error::other("no worker"));
                }
                made.fetch_add(1, Ordering::Relaxed);
                let own = thread::current().id();
                Ok(move |jobs: &mut [u64]| jobs.fill(u64::from(thread::current().id() == own)))
            }
        });
        OrderedPool::with_makers(makers, 3, 1)
    };
    let pool = start(false).expect("three workers");
    assert_eq!(made.load(Ordering::Relaxed), 3, "it waits for them");
    assert!(pool.push(|_| ()));
    assert!(pool.deliver(|job| assert_eq!(*job, 1, "made in another thread")));
    assert_eq!(start(true).err().expect("an error").to_string(), "no worker");
    drop(pool);
    assert_eq!(Arc::strong_count(&made), 1, "all threads have ended");
}

#[test]
fn a_full_pool_waits_and_drops_nothing() {
    let pool = pool(2, |job| *job += 1);
    for number in 0..pool.capacity() as u64 {
        assert!(pool.push(|job| *job = number));
    }
    let pusher = Arc::clone(&pool);
    let mut delivered = None;
    assert!(waits_until(
        move || assert!(pusher.push(|job| *job = 100)),
        || delivered = Some(deliver_all(&pool)),
    ));
    pool.drain();
    let delivered: Vec<_> =
        delivered.into_iter().flat_map(|d| d.try_iter().collect::<Vec<_>>()).collect();
    assert_eq!(delivered, [1, 2, 3, 4, 101]);
}

#[test]
fn draining_waits_for_the_delivery() {
    let pool = pool(2, |_| ());
    assert!(pool.push(|_| ()));
    let (drainer, deliverer) = (Arc::clone(&pool), Arc::clone(&pool));
    assert!(waits_until(
        move || assert!(drainer.drain()),
        || assert!(deliverer.deliver(|_| thread::sleep(MOMENT))),
    ));
}

#[test]
fn flushing_ends_every_wait_and_forgets() {
    let pool = pool(2, |_| ());
    for _ in 0..pool.capacity() {
        assert!(pool.push(|job| *job = 1));
    }
    let (pusher, drainer) = (Arc::clone(&pool), Arc::clone(&pool));
    assert!(waits_until(
        move || {
            thread::scope(|scope| {
                scope.spawn(|| assert!(!pusher.push(|_| ()), "refused"));
                scope.spawn(|| assert!(!drainer.drain(), "refused"));
            });
        },
        || pool.flush(),
    ));
    pool.resume();
    assert!(pool.push(|job| *job = 2));
    let mut first = 0;
    assert!(pool.deliver(|job| first = *job));
    assert_eq!(first, 2);
}

/// As when a flushing seek is made from the thread that sends frames on.
#[test]
fn flushing_within_a_delivery_does_not_wait_for_it() {
    let pool = pool(2, |_| ());
    assert!(pool.push(|_| ()));
    let this = Arc::clone(&pool);
    assert!(pool.deliver(|_| {
        this.flush();
        this.resume();
    }));
    assert!(pool.push(|_| ()) && pool.deliver(|_| ()));
}

/// As when the pad is deactivated, whose task delivers, and a flush goes by meanwhile.
#[test]
fn stopping_ends_every_wait_until_it_is_started() {
    let pool = pool(2, |_| ());
    let deliverer = Arc::clone(&pool);
    assert!(waits_until(move || assert!(!deliverer.deliver(|_| ()), "stopped"), || pool.stop()));
    for open in [OrderedPool::flush, OrderedPool::resume] {
        open(&pool);
        assert!(!pool.push(|_| ()) && !pool.drain() && !pool.deliver(|_| ()), "still stopped");
    }
    pool.start();
    assert!(pool.push(|_| ()) && pool.deliver(|_| ()));
    assert!(pool.drain());
}

#[test]
fn closing_ends_every_wait() {
    let pool = pool(2, |_| ());
    let deliverer = Arc::clone(&pool);
    assert!(waits_until(move || assert!(!deliverer.deliver(|_| ()), "closed"), || pool.close(),));
    assert!(!pool.push(|_| ()));
    pool.resume();
    assert!(!pool.push(|_| ()), "for good");
    pool.drain();
}

/// Dropping ends the workers, whatever they were at.
#[test]
fn nothing_is_left_behind() {
    let work = Arc::new(AtomicUsize::new(0));
    for jobs in 0..4 {
        let workers = (0..2).map(|_| {
            let work = Arc::clone(&work);
            move |_: &mut [u64]| {
                work.fetch_add(1, Ordering::Relaxed);
            }
        });
        let pool = OrderedPool::new(workers, 2, 1).expect("threads");
        for _ in 0..jobs {
            assert!(pool.push(|_| ()));
        }
    }
    assert_eq!(Arc::strong_count(&work), 1);
}
