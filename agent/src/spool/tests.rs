use super::*;

const PIECE: usize = 1000;

fn limits(pieces: usize, patience: u64, overflow: Overflow) -> Limits {
    Limits { window_bytes: pieces * PIECE, patience: Duration::from_secs(patience), overflow, keep: 1 }
}

fn names(readers: usize) -> Vec<String> {
    (0..readers).map(|index| format!("s{index}")).collect()
}

/// A piece that shows where in the stream it stands.
fn piece(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 251).unwrap(); PIECE])
}

fn stream(pieces: usize) -> Vec<u8> {
    (0..pieces).flat_map(piece).collect()
}

/// Writes so many pieces as fast as it may; the most that was ever held.
async fn write(mut writer: Writer, pieces: usize) -> Result<usize> {
    let mut most = 0;
    for number in 0..pieces {
        writer.push(piece(number)).await?;
        most = most.max(writer.shared.lock().held());
    }
    Ok(most)
}

/// Reads to the end, a pause before each piece.
async fn read(mut reader: Reader, pause: Duration) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        tokio::time::sleep(pause).await;
        match reader.next().await? {
            Some(piece) => all.extend_from_slice(&piece),
            None => return Ok(all),
        }
    }
}

fn taken(spool: &mut Spool) -> Reader {
    spool.readers.remove(0)
}

#[tokio::test(start_paused = true)]
async fn three_readers_at_three_speeds_get_the_same_bytes_from_a_bounded_memory() {
    let mut spool = Spool::new(&names(3), limits(4, 10_000, Overflow::Fail));
    let (a, b, c) = (taken(&mut spool), taken(&mut spool), taken(&mut spool));
    let pause = Duration::from_millis;
    let (most, a, b, c) =
        tokio::join!(write(spool.writer, 50), read(a, pause(0)), read(b, pause(7)), read(c, pause(90)));
    assert_eq!(most.unwrap(), 4 * PIECE);
    for got in [a, b, c] {
        assert_eq!(got.unwrap(), stream(50));
    }
    let waited = spool.control.report().waited;
    assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_holds_up_the_stream_for_too_long_fails_the_run_by_name() {
    let mut spool = Spool::new(&["main".to_owned()], limits(2, 30, Overflow::Fail));
    let reader = taken(&mut spool);
    let (written, got) = tokio::join!(write(spool.writer, 50), read(reader, Duration::from_secs(20)));
    let (written, got) = (written.unwrap_err(), got.unwrap_err());
    for error in [written, got] {
        assert_eq!(error.reason, Reason::StoreTimeout);
        assert!(error.message.starts_with("store main was too slow: it held up etcd's stream for 30 s"), "{error}");
        assert!(error.hint.unwrap().contains("slow_store"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_laggard_is_let_go_while_enough_others_stay() {
    let mut spool = Spool::new(&names(3), Limits { keep: 2, ..limits(2, 30, Overflow::Fail) });
    let (a, b, c) = (taken(&mut spool), taken(&mut spool), taken(&mut spool));
    let (fast, slow) = (Duration::from_millis(1), Duration::from_secs(20));
    let (written, a, b, c) = tokio::join!(write(spool.writer, 50), read(a, fast), read(b, slow), read(c, fast));
    written.unwrap();
    assert_eq!((a.unwrap(), c.unwrap()), (stream(50), stream(50)));
    let why = b.unwrap_err();
    assert_eq!(why.reason, Reason::StoreTimeout);
    assert!(why.message.contains("store s1 was too slow"), "{why}");
    assert_eq!(spool.control.report().behind, [None, None, None]); // all of them ended
}

#[tokio::test(start_paused = true)]
async fn one_laggard_too_many_fails_the_run_for_all() {
    let mut spool = Spool::new(&names(2), Limits { keep: 2, ..limits(2, 30, Overflow::Fail) });
    let (a, b) = (taken(&mut spool), taken(&mut spool));
    let (fast, slow) = (Duration::from_millis(1), Duration::from_secs(20));
    let (written, a, b) = tokio::join!(write(spool.writer, 50), read(a, fast), read(b, slow));
    for error in [written.unwrap_err(), a.unwrap_err(), b.unwrap_err()] {
        assert!(error.message.contains("store s1 was too slow"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_store_has_not_taken_waits_in_a_file_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let overflow = Overflow::File { dir: dir.path().to_owned(), max_bytes: 1 << 20 };
    let mut spool = Spool::new(&names(2), limits(2, 3, overflow));
    let (a, b) = (taken(&mut spool), taken(&mut spool));
    let control = spool.control.clone();
    let written = async {
        let most = write(spool.writer, 200).await;
        (most, control.report(), std::fs::read_dir(dir.path()).unwrap().count())
    };
    let ((most, report, named), a, b) =
        tokio::join!(written, read(a, Duration::from_millis(1)), read(b, Duration::from_secs(5)));
    assert_eq!(most.unwrap(), 2 * PIECE);
    assert_eq!((a.unwrap(), b.unwrap()), (stream(200), stream(200)));
    assert_eq!(report.waited, Duration::from_secs(3));
    assert!(report.spilled_bytes > 190 * PIECE as u64, "{report:?}");
    assert_eq!(named, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_file_names_its_budget_or_lets_the_laggard_go() {
    let dir = tempfile::tempdir().unwrap();
    let overflow = Overflow::File { dir: dir.path().to_owned(), max_bytes: 10 * PIECE as u64 };
    let mut spool = Spool::new(&names(1), limits(2, 3, overflow.clone()));
    let reader = taken(&mut spool);
    let (written, got) = tokio::join!(write(spool.writer, 50), read(reader, Duration::from_secs(5)));
    for error in [written.unwrap_err(), got.unwrap_err()] {
        assert_eq!(error.reason, Reason::Budget);
        assert!(error.message.contains("store s0 was too slow") && error.message.contains("10000 bytes"), "{error}");
    }

    let mut spool = Spool::new(&names(2), limits(2, 3, overflow));
    let (a, b) = (taken(&mut spool), taken(&mut spool));
    let (written, a, b) =
        tokio::join!(write(spool.writer, 50), read(a, Duration::from_millis(1)), read(b, Duration::from_secs(5)));
    assert_eq!(written.unwrap(), 2 * PIECE);
    assert_eq!(a.unwrap(), stream(50));
    assert_eq!(b.unwrap_err().reason, Reason::Budget);
}

#[tokio::test(start_paused = true)]
async fn a_scratch_dir_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "in the way").unwrap();
    let overflow = Overflow::File { dir: dir.path().join("file/below"), max_bytes: 1 << 20 };
    let mut spool = Spool::new(&names(1), limits(2, 3, overflow));
    let reader = taken(&mut spool);
    let (written, got) = tokio::join!(write(spool.writer, 50), read(reader, Duration::from_secs(5)));
    assert!(written.is_err());
    let why = got.unwrap_err();
    assert!(why.message.contains("store s0 was too slow") && why.message.contains("file/below"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_fails_or_is_let_go_no_longer_counts() {
    let mut spool = Spool::new(&names(3), limits(2, 1000, Overflow::Fail));
    let (a, mut b, mut c) = (taken(&mut spool), taken(&mut spool), taken(&mut spool));
    let control = spool.control.clone();
    let failing = async {
        b.next().await.unwrap();
        drop(b);
    };
    let stuck = async {
        c.next().await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        control.let_go(2, Error::new(Reason::StoreDenied, "the owner had enough"));
        c.next().await.unwrap_err()
    };
    let (written, a, (), why) = tokio::join!(write(spool.writer, 50), read(a, Duration::ZERO), failing, stuck);
    assert_eq!(written.unwrap(), 2 * PIECE);
    assert_eq!(a.unwrap(), stream(50));
    assert_eq!((why.reason, why.message.as_str()), (Reason::StoreDenied, "the owner had enough"));
    assert_eq!(c.next().await.unwrap_err().reason, Reason::Internal);
}

#[tokio::test(start_paused = true)]
async fn with_nobody_left_the_writer_stops() {
    let mut spool = Spool::new(&names(1), limits(1, 1000, Overflow::Fail));
    let reader = taken(&mut spool);
    let leave = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(reader);
    };
    let (written, ()) = tokio::join!(write(spool.writer, 50), leave);
    assert_eq!(written.unwrap_err().message, "every upload stopped");
}

#[tokio::test(start_paused = true)]
async fn once_etcds_stream_has_ended_a_slow_store_may_take_its_time() {
    let mut spool = Spool::new(&names(1), limits(2, 30, Overflow::Fail));
    let reader = taken(&mut spool);
    let control = spool.control.clone();
    let ends = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        control.source_ended();
    };
    let (written, got, ()) = tokio::join!(write(spool.writer, 50), read(reader, Duration::from_secs(20)), ends);
    written.unwrap();
    assert_eq!(got.unwrap(), stream(50));
    assert_eq!(spool.control.report().waited, Duration::from_secs(10));
}

#[tokio::test]
async fn a_thread_that_blocks_hands_on_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let overflow = Overflow::File { dir: dir.path().to_owned(), max_bytes: 1 << 20 };
    let mut spool = Spool::new(&names(1), Limits { patience: Duration::ZERO, ..limits(2, 0, overflow) });
    let reader = taken(&mut spool);
    let mut writer = spool.writer;
    let thread =
        tokio::task::spawn_blocking(move || (0..300).try_for_each(|number| writer.push_blocking(piece(number))));
    assert_eq!(read(reader, Duration::ZERO).await.unwrap(), stream(300));
    thread.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_laggard_learns_that_it_was_let_go_while_it_is_busy_with_a_piece() {
    let mut spool = Spool::new(&names(2), limits(2, 5, Overflow::Fail));
    let (quick, busy) = (taken(&mut spool), taken(&mut spool));
    let (wrote, got, why) = tokio::join!(write(spool.writer, 20), read(quick, Duration::ZERO), busy.let_go());
    wrote.unwrap();
    assert_eq!(got.unwrap(), stream(20));
    assert_eq!(why.reason, Reason::StoreTimeout);
    assert!(why.to_string().contains("s1 was too slow"), "{why}");
}
