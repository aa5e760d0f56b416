use super::*;

/// Members 1, 2, 3, ...; 1 is the source; the file says 100 everywhere.
fn facts(voters: u64, answers: &[(u64, i64, u32)]) -> Facts {
    let answer = |(member, revision, hash): &(u64, i64, u32)| Answer {
        member: *member,
        name: format!("m{member}"),
        point: Point { revision: *revision, compact_revision: 5 },
        hash: *hash,
        file: Ok(100),
    };
    Facts {
        source: 1,
        voters: (1..=voters).collect(),
        answers: answers.iter().map(answer).collect(),
        silent: Vec::new(),
        corrupt_alarm: false,
    }
}

fn equal(revision: i64, members: usize) -> Outcome {
    Outcome::Equal { at: Point { revision, compact_revision: 5 }, members }
}

fn found(judgement: &Judgement) -> &str {
    match &judgement.outcome {
        Outcome::Differs { found } => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_agree_at_the_end_of_the_stream() {
    let judged = judge(&facts(3, &[(1, 90, 100), (2, 90, 100), (1, 99, 100), (2, 99, 100), (3, 99, 100)]));
    assert_eq!(judged, Judgement { outcome: equal(99, 3), unprovable: None, better: vec![] });
}

#[test]
fn agreement_at_the_earlier_revision_counts_where_the_later_one_was_compacted_away() {
    let mut facts = facts(3, &[(1, 90, 100), (2, 90, 100)]);
    facts.silent = vec![("m1".to_owned(), "compacted".to_owned())];
    assert_eq!(judge(&facts).outcome, equal(90, 2));
}

#[test]
fn one_member_that_differs_is_a_finding_and_no_reproach_to_the_backup() {
    let judged = judge(&facts(3, &[(1, 99, 100), (2, 99, 100), (3, 99, 7)]));
    assert_eq!(found(&judged), "at revision 99 compacted at 5: m3 7 but this backup, m1, m2 100");
    assert_eq!((judged.unprovable, judged.better), (None, vec![]));
}

#[test]
fn a_source_against_the_majority_makes_the_backup_unprovable_and_names_who_is_right() {
    let judged = judge(&facts(3, &[(1, 99, 100), (2, 99, 7), (3, 99, 7)]));
    found(&judged);
    assert_eq!(judged.unprovable.unwrap(), "most of the cluster (2 of 3) differs at revision 99 compacted at 5");
    assert_eq!(judged.better, [2, 3]);
}

#[test]
fn a_majority_is_of_all_voters_not_of_those_that_answered() {
    let judged = judge(&facts(5, &[(1, 99, 100), (2, 99, 7), (3, 99, 7)]));
    found(&judged);
    assert_eq!(judged.unprovable, None);
}

#[test]
fn two_members_that_differ_are_a_finding_without_a_culprit() {
    let judged = judge(&facts(2, &[(1, 99, 100), (2, 99, 7)]));
    found(&judged);
    assert_eq!(judged.unprovable, None);
}

#[test]
fn a_file_unlike_its_own_source_is_unprovable_unless_a_majority_is_like_the_file() {
    let alone = judge(&facts(1, &[(1, 99, 7)]));
    found(&alone);
    assert!(alone.unprovable.is_some());
    let unsure = judge(&facts(3, &[(1, 99, 7)]));
    assert_eq!(unsure.unprovable.unwrap(), "its own source answers 7 at revision 99 compacted at 5, not 100");
    let backed = judge(&facts(3, &[(1, 99, 7), (2, 99, 100), (3, 99, 100)]));
    found(&backed);
    assert_eq!(backed.unprovable, None);
}

#[test]
fn members_that_differ_among_themselves_are_found_where_the_file_cannot_follow() {
    let mut facts = facts(3, &[(1, 99, 100), (2, 99, 7), (3, 99, 7)]);
    facts.answers.iter_mut().for_each(|answer| answer.file = Err("the database is compacted at 9".to_owned()));
    let judged = judge(&facts);
    assert!(!found(&judged).contains("this backup"));
    assert_eq!(judged.better, [2, 3]);
}

#[test]
fn hashes_at_different_points_are_never_compared() {
    let mut facts = facts(2, &[(1, 99, 100), (2, 99, 7)]);
    facts.answers[1].point.compact_revision = 6;
    facts.answers[1].file = Ok(7);
    let judged = judge(&facts);
    assert_eq!(judged.outcome, Outcome::Equal { at: Point { revision: 99, compact_revision: 6 }, members: 1 });
}

#[test]
fn a_corrupt_alarm_stands_unless_a_majority_agrees() {
    let alarmed = |answers: &[(u64, i64, u32)]| judge(&Facts { corrupt_alarm: true, ..facts(3, answers) }).unprovable;
    assert!(alarmed(&[]).is_some());
    assert!(alarmed(&[(1, 99, 100)]).is_some());
    assert_eq!(alarmed(&[(1, 99, 100), (2, 99, 100)]), None);
}

#[test]
fn a_learner_that_answers_has_no_vote() {
    let judged = judge(&facts(1, &[(1, 99, 100), (8, 99, 7), (9, 99, 7)]));
    found(&judged);
    assert_eq!(judged.unprovable, None);
}

#[test]
fn not_compared_says_why() {
    let mut facts = facts(3, &[]);
    assert_eq!(judge(&facts).outcome, Outcome::NotCompared { because: "no member was asked".to_owned() });
    facts.silent = vec![("m1".to_owned(), "no answer within 2m".to_owned())];
    assert_eq!(judge(&facts).outcome, Outcome::NotCompared { because: "m1: no answer within 2m".to_owned() });
}
