use super::*;
use crate::proof::{Because, Level};

fn at(hour: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + hour * 3600, 0).unwrap()
}

fn proven() -> Standing {
    Standing::Proven { level: Level::Booted, at: at(0), took_seconds: 41.0 }
}

fn unproven() -> Standing {
    Standing::Unproven { because: Because::NotTried }
}

fn failed() -> Standing {
    Standing::Failed { level: Level::Sound, at: at(0) }
}

/// A trusted backup of hour `hour`; its id begins with the hour's two digits, so lists are easy to read.
fn backup(lineage: &str, hour: i64, standing: Standing) -> Candidate {
    let random = u64::try_from(hour).unwrap() << 56;
    Candidate {
        id: BackupId::new(at(hour), random),
        lineage: lineage.to_owned(),
        revision: 1000 + hour,
        captured_at: at(hour),
        standing,
        trusted: Trusted::Yes,
        late: false,
    }
}

fn untrusted(mut candidate: Candidate) -> Candidate {
    candidate.trusted = Trusted::No("no signature".to_owned());
    candidate
}

fn by_default(candidates: &[Candidate]) -> Result<Choice, Refusal> {
    choose(candidates, &Want::NewestProven, &Allow::default(), at(20))
}

fn missing(candidates: &[Candidate], wanted: &Candidate) -> Vec<&'static str> {
    let want = Want::This(wanted.id.clone());
    match choose(candidates, &want, &Allow::default(), at(20)) {
        Err(Refusal { kind: RefusalKind::NeedsConsent { missing }, .. }) => missing,
        Ok(_) => vec![],
        Err(other) => panic!("{other}"),
    }
}

const ALL: Allow = Allow { unproven: true, diverged: true, older: true, late: true, unverified: true };

#[test]
fn the_newest_proven_is_the_default() {
    let all =
        [backup("a", 1, proven()), backup("a", 3, unproven()), backup("a", 2, proven()), backup("a", 4, failed())];
    let choice = by_default(&all).unwrap();
    assert_eq!(choice.id, all[2].id);
    assert_eq!(choice.why, ["the newest proven"]);
    assert_eq!(choice.notes, ["1 newer backup is not proven", "1 newer backup is known to be damaged"]);
    let choice = by_default(&all[..1]).unwrap();
    assert_eq!((choice.why, choice.notes), (vec!["the newest, and the newest proven".to_owned()], vec![]));
}

#[test]
fn consent_never_changes_the_default() {
    let all = [
        backup("a", 1, proven()),
        backup("a", 2, proven()),
        untrusted(backup("a", 3, proven())),
        backup("a", 4, unproven()),
    ];
    assert_eq!(choose(&all, &Want::NewestProven, &ALL, at(20)).unwrap().id, all[1].id);
}

#[test]
fn the_order_is_the_revision_and_not_the_clock() {
    let mut wrong_clock = backup("a", 1, proven());
    wrong_clock.revision = 5000;
    let all = [backup("a", 2, proven()), wrong_clock.clone()];
    assert_eq!(by_default(&all).unwrap().id, wrong_clock.id);
}

#[test]
fn each_objection_has_its_own_word() {
    let all = [
        backup("a", 1, proven()),
        backup("a", 2, failed()),
        backup("a", 3, proven()),
        backup("a", 4, unproven()),
        untrusted(backup("a", 5, unproven())),
    ];
    assert_eq!(missing(&all, &all[0]), ["older"]);
    assert_eq!(missing(&all, &all[1]), ["unproven", "older"]);
    assert_eq!(missing(&all, &all[2]), [""; 0]);
    assert_eq!(missing(&all, &all[3]), ["unproven"]);
    assert_eq!(missing(&all, &all[4]), ["unproven", "unverified"]);
    for wanted in &all {
        let choice = choose(&all, &Want::This(wanted.id.clone()), &ALL, at(20)).unwrap();
        assert_eq!(choice.id, wanted.id);
        assert!(!choice.why.is_empty() && !choice.notes.is_empty(), "{choice:?}");
    }
}

#[test]
fn a_refusal_says_what_to_type() {
    let all = [backup("a", 1, failed()), backup("a", 2, proven())];
    let refusal = choose(&all, &Want::This(all[0].id.clone()), &Allow::default(), at(20)).unwrap_err();
    assert_eq!(refusal.text, "backup 010000 failed its proof at sound, and is older than 020000, the newest proven");
    assert_eq!(refusal.hint, "to restore it nevertheless: lifeboat restore 010000 --allow unproven --allow older");
    let allow = Allow { older: true, ..Allow::default() };
    let refusal = choose(&all, &Want::This(all[0].id.clone()), &allow, at(20)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NeedsConsent { missing: vec!["unproven"] });
}

#[test]
fn nothing_proven_is_refused_and_the_newest_is_offered_by_name() {
    let all = [backup("a", 1, unproven()), backup("a", 2, unproven()), backup("a", 3, failed())];
    let refusal = by_default(&all).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotUsable);
    assert_eq!(refusal.text, "none of the 3 trusted backups is proven");
    assert!(refusal.hint.contains("lifeboat restore 020000 --allow unproven"), "{}", refusal.hint);
}

#[test]
fn nothing_at_all_and_an_unknown_name_are_no_backup() {
    assert_eq!(by_default(&[]).unwrap_err().kind, RefusalKind::NoBackup);
    let other = backup("a", 9, proven());
    let refusal = choose(&[backup("a", 1, proven())], &Want::This(other.id.clone()), &ALL, at(20)).unwrap_err();
    assert_eq!((refusal.kind, refusal.id), (RefusalKind::NoBackup, Some(other.id)));
}

#[test]
fn a_new_lineage_without_a_proof_does_not_fall_back_silently() {
    let all = [backup("old", 1, proven()), backup("new", 2, unproven())];
    let refusal = by_default(&all).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotUsable);
    assert!(refusal.text.contains("since the cluster was restored or re-created"));
    assert!(
        refusal.hint.contains("lifeboat restore 020000 --allow unproven, or lifeboat restore 010000 --allow older")
    );
    assert_eq!(missing(&all, &all[0]), ["older"]);
}

#[test]
fn the_default_is_of_the_newest_lineage_even_if_its_revisions_are_lower() {
    let mut new = backup("new", 5, proven());
    new.revision = 3;
    let all = [backup("old", 4, proven()), new.clone()];
    assert_eq!(by_default(&all).unwrap().id, new.id);
}

#[test]
fn a_backup_dated_in_the_future_is_named_and_not_hidden() {
    let all = [backup("a", 1, proven()), backup("a", 30, proven())];
    let choice = by_default(&all).unwrap();
    assert_eq!(choice.id, all[1].id);
    assert!(choice.notes[0].contains("10h in the future"), "{:?}", choice.notes);
}

#[test]
fn a_date_in_the_future_does_not_make_a_lineage_the_newest() {
    let all = [backup("old", 1, proven()), backup("old", 30, proven()), backup("new", 5, proven())];
    assert_eq!(by_default(&all).unwrap().id, all[2].id);
    let dead_clock = choose(&all, &Want::NewestProven, &Allow::default(), at(-1000)).unwrap();
    assert_eq!(dead_clock.id, all[1].id, "with a dead clock at the restore all are ahead, and dates are all there is");
}

#[test]
fn forged_backups_decide_nothing_for_others() {
    let forged = [untrusted(backup("a", 8, unproven())), untrusted(backup("forged", 9, unproven()))];
    let all = [backup("a", 1, proven()), forged[0].clone(), forged[1].clone()];
    let choice = by_default(&all).unwrap();
    assert_eq!(choice.id, all[0].id);
    assert_eq!(choice.notes, ["1 newer backup is not trusted, so not considered"]);
}

#[test]
fn with_no_trust_at_all_one_can_still_name_a_backup() {
    let all = [untrusted(backup("a", 1, unproven())), untrusted(backup("a", 2, unproven()))];
    let refusal = by_default(&all).unwrap_err();
    assert_eq!(refusal.text, "none of the 2 backups is vouched for by a trusted key");
    assert!(refusal.hint.contains("lifeboat restore 020000 --allow unproven --allow unverified"));
    let allow = Allow { unproven: true, unverified: true, ..Allow::default() };
    assert_eq!(choose(&all, &Want::This(all[1].id.clone()), &allow, at(20)).unwrap().id, all[1].id);
}

#[test]
fn a_backup_that_its_cluster_contradicts_has_a_word_of_its_own() {
    let diverged = Standing::Unproven { because: Because::Diverged };
    let all = [backup("a", 1, unproven()), backup("a", 2, diverged)];
    let want = Want::This(all[1].id.clone());
    let unproven = Allow { unproven: true, ..Allow::default() };
    let refusal = choose(&all, &want, &unproven, at(20)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NeedsConsent { missing: vec!["diverged"] });
    assert!(refusal.text.contains("contradicted by its own cluster") && refusal.hint.ends_with("--allow diverged"));
    let diverged = Allow { diverged: true, ..Allow::default() };
    assert_eq!(choose(&all, &want, &diverged, at(20)).unwrap().id, all[1].id);
    // It is not what a person is sent to first.
    assert!(by_default(&all).unwrap_err().hint.starts_with(&format!(
        "name one and consent to what speaks against it: lifeboat restore {} --allow unproven",
        all[0].id.short(6)
    )));
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let mut all =
        vec![backup("a", 1, proven()), backup("a", 3, unproven()), backup("b", 2, proven()), backup("a", 4, failed())];
    let choice = by_default(&all);
    for _ in 0..all.len() {
        all.rotate_left(1);
        assert_eq!(by_default(&all), choice);
    }
    let doubled: Vec<Candidate> = all.iter().chain(all.iter()).cloned().collect();
    assert_eq!(by_default(&doubled), choice);
}

#[test]
fn a_late_backup_is_taken_only_by_name_and_by_its_own_word() {
    let late = Candidate { late: true, ..backup("a", 5, proven()) };
    let elsewhere = Candidate { late: true, ..backup("b", 7, proven()) };
    let all = [backup("a", 3, proven()), late.clone(), elsewhere.clone()];
    let choice = by_default(&all).unwrap();
    assert_eq!((choice.id, choice.why), (all[0].id.clone(), vec!["the newest, and the newest proven".to_owned()]));
    assert_eq!(choice.notes, ["1 newer backup is late, so not considered"]);
    assert_eq!(missing(&all, &all[0]), Vec::<&str>::new());
    assert_eq!(missing(&all, &late), ["late"]);
    assert_eq!(missing(&all, &elsewhere), ["older", "late"], "a late one begins no newer history");
    let named = choose(&all, &Want::This(late.id.clone()), &Allow { late: true, ..Allow::default() }, at(20));
    assert!(named.unwrap().notes[0].contains("long after the time it claims"));
    let alone = by_default(std::slice::from_ref(&late)).unwrap_err();
    assert!(alone.text.contains("long after the times they claim") && alone.hint.contains("--allow late"), "{alone}");
}

#[test]
fn up_to_a_time_or_a_revision_the_newest_proven_is_taken_with_consent_to_its_age() {
    let all =
        [backup("a", 5, proven()), backup("a", 4, unproven()), backup("a", 3, proven()), backup("a", 1, failed())];
    let up_to = |bound: Bound, allow: &Allow| choose(&all, &Want::UpTo(bound), allow, at(20));
    let older = Allow { older: true, ..Allow::default() };
    let revision = |hour: usize| Bound::Revision(all[hour].revision);
    for bound in [Bound::Time(at(4)), Bound::Time(at(3)), revision(1), revision(2)] {
        let choice = up_to(bound, &older).unwrap();
        assert_eq!((&choice.id, &choice.why), (&all[2].id, &vec![format!("the newest proven up to {bound}")]));
        let refusal = up_to(bound, &Allow::default()).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::NeedsConsent { missing: vec!["older"] });
    }
    // The newest is no older one, and nothing has to be consented to.
    assert_eq!(up_to(Bound::Time(at(19)), &Allow::default()).unwrap().id, all[0].id);
    // Where none is proven, the newest is offered with all that speaks against it.
    let refusal = up_to(Bound::Time(at(2)), &older).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NeedsConsent { missing: vec!["unproven"] });
    assert_eq!(
        up_to(Bound::Time(at(2)), &ALL).unwrap().why,
        ["the newest up to 2026-09-21 16:13:20 UTC; consented to"]
    );
    let refusal = up_to(Bound::Time(at(0)), &ALL).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NoBackup);
    assert!(refusal.text.contains("the oldest is ") && refusal.text.contains("2026-09-21 15:13:20 UTC"), "{refusal}");
}

#[test]
fn a_time_asks_the_history_of_then_and_a_revision_that_of_now() {
    // Restored at hour 6: revisions begin anew, and lower.
    let (old, new) = (backup("old", 5, proven()), Candidate { revision: 2, ..backup("new", 7, proven()) });
    let all = [new.clone(), old.clone()];
    let up_to = |bound: Bound| choose(&all, &Want::UpTo(bound), &ALL, at(20)).map(|choice| choice.id);
    assert_eq!(up_to(Bound::Time(at(6))), Ok(old.id));
    assert_eq!(up_to(Bound::Revision(2)), Ok(new.id));
    assert!(up_to(Bound::Revision(1)).is_err());
}
