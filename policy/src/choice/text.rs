//! What people read about a choice: why this one, what speaks against it, what to type next.

use super::{Bound, Candidate, Field, Refusal, RefusalKind, Trusted, Want};
use crate::id::BackupId;
use crate::moment;
use crate::proof::Standing;
use crate::span;

impl Field<'_> {
    pub(super) fn why(&self, chosen: &Candidate, want: &Want) -> Vec<String> {
        let is = |other: Option<&Candidate>| other.is_some_and(|other| other.id == chosen.id);
        let (newest, newest_proven) = (is(self.current().next()), is(self.newest_proven()));
        let place = match (newest, newest_proven) {
            (true, true) => "the newest, and the newest proven",
            (false, true) => "the newest proven",
            (true, false) => "the newest; named and consented to",
            (false, false) => "named and consented to",
        };
        match want {
            Want::UpTo(bound) if !newest_proven && chosen.standing.is_proven() => {
                vec![format!("the newest proven up to {bound}")]
            }
            Want::UpTo(bound) if !newest_proven => vec![format!("the newest up to {bound}; consented to")],
            _ => vec![place.to_owned()],
        }
    }

    pub(super) fn notes(&self, chosen: &Candidate) -> Vec<String> {
        let mut notes = self.about(chosen);
        let newer: Vec<&Candidate> = match self.place(chosen) {
            Some(place) => self.all.iter().take(place).copied().collect(),
            None => vec![],
        };
        let count = |counted: &dyn Fn(&Candidate) -> bool| newer.iter().filter(|c| counted(c)).count();
        // Where one is chosen that itself is not trusted, or late, nothing of its kind is left out.
        let vouched = |c: &Candidate| c.weight() >= chosen.weight();
        let counts = [
            (count(&|c| vouched(c) && c.standing.is_proven()), "proven"),
            (count(&|c| vouched(c) && matches!(c.standing, Standing::Unproven { .. })), "not proven"),
            (count(&|c| vouched(c) && c.standing.is_failed()), "known to be damaged"),
            (count(&|c| !vouched(c) && !c.trusted.is_yes()), "not trusted, so not considered"),
            (count(&|c| !vouched(c) && c.trusted.is_yes()), "late, so not considered"),
        ];
        for (number, what) in counts {
            match number {
                0 => {}
                1 => notes.push(format!("1 newer backup is {what}")),
                _ => notes.push(format!("{number} newer backups are {what}")),
            }
        }
        notes
    }

    /// What is to be known about one backup by itself.
    fn about(&self, chosen: &Candidate) -> Vec<String> {
        let mut notes = vec![];
        if moment::is_future(chosen.captured_at, self.now) {
            let ahead = span::ago(moment::between(self.now, chosen.captured_at));
            notes.push(format!("it is dated {ahead} in the future: a clock is wrong, here or where it was taken"));
        }
        match chosen.standing {
            Standing::Proven { .. } => {}
            Standing::Unproven { because } => notes.push(format!("it is not proven: {because}")),
            Standing::Failed { level, .. } => notes.push(format!("it FAILED its proof at {level}: it is damaged")),
        }
        if let Trusted::No(why) = &chosen.trusted {
            notes.push(format!("nothing vouches for it ({why}): anyone can have made it"));
        }
        if chosen.late {
            notes.push("it came into the store long after the time it claims: find out where from".to_owned());
        }
        if Some(chosen.lineage.as_str()) != self.lineage {
            notes.push("it is of an older lineage: the cluster was restored or re-created since".to_owned());
        }
        notes
    }

    pub(super) fn unknown(&self, id: &BackupId) -> Refusal {
        Refusal {
            id: Some(id.clone()),
            kind: RefusalKind::NoBackup,
            text: format!("there is no backup {id}"),
            hint: "`lifeboat list` shows those that there are".to_owned(),
        }
    }

    pub(super) fn none_up_to(&self, bound: Bound) -> Refusal {
        if self.all.is_empty() {
            return self.no_backup();
        }
        let oldest = match bound {
            Bound::Time(_) => self.vouched().min_by_key(|c| c.captured_at),
            Bound::Revision(_) => self.current().min_by_key(|c| c.revision),
        };
        let oldest = oldest.map_or_else(String::new, |c| {
            let at = c.captured_at.format("%Y-%m-%d %H:%M:%S UTC");
            format!(": the oldest is {}, {at}, revision {}", c.id.short(self.short), c.revision)
        });
        Refusal {
            id: None,
            kind: RefusalKind::NoBackup,
            text: format!("no backup goes back to {bound}{oldest}"),
            hint: "`lifeboat list` shows those that there are".to_owned(),
        }
    }

    pub(super) fn no_backup(&self) -> Refusal {
        Refusal {
            id: None,
            kind: RefusalKind::NoBackup,
            text: "there is no backup at all".to_owned(),
            hint:
                "check the store's URL and the cluster's name; `lifeboat list --all-clusters` shows every cluster in it"
                    .to_owned(),
        }
    }

    pub(super) fn needs_consent(&self, wanted: &Candidate, missing: Vec<&'static str>) -> Refusal {
        let against: Vec<String> = missing.iter().map(|word| self.objection(word, wanted)).collect();
        let name = wanted.id.short(self.short);
        Refusal {
            id: Some(wanted.id.clone()),
            text: format!("backup {name} {}", against.join(", and ")),
            hint: format!("to restore it nevertheless: lifeboat restore {name}{}", allows(&missing)),
            kind: RefusalKind::NeedsConsent { missing },
        }
    }

    fn objection(&self, word: &str, wanted: &Candidate) -> String {
        match (word, &wanted.standing, &wanted.trusted) {
            ("older", ..) => match self.newest_proven().filter(|newest| newest.lineage == wanted.lineage) {
                Some(newest) => format!("is older than {}, the newest proven", newest.id.short(self.short)),
                None => "is of an older lineage: the cluster was restored or re-created since".to_owned(),
            },
            ("diverged", ..) => "is contradicted by its own cluster, so no proof counts".to_owned(),
            ("late", ..) => "came into the store long after the time it claims".to_owned(),
            ("unproven", Standing::Failed { level, .. }, _) => format!("failed its proof at {level}"),
            ("unproven", Standing::Unproven { because }, _) => format!("is not proven ({because})"),
            (_, _, Trusted::No(why)) => format!("is not trusted ({why})"),
            (other, ..) => format!("needs consent to {other}"),
        }
    }

    /// The default finds nothing: say which ones a person can name instead, and what they would consent to.
    pub(super) fn none_by_default(&self) -> Refusal {
        let newest = self.all.iter().copied().find(|c| !c.standing.is_failed() && !c.standing.is_diverged());
        let proven = self.all.iter().copied().find(|c| c.standing.is_proven());
        let mut commands: Vec<String> = vec![];
        for candidate in newest.into_iter().chain(proven).chain(self.all.first().copied()) {
            let missing = self.missing(candidate, super::Allow::default());
            let command = format!("lifeboat restore {}{}", candidate.id.short(self.short), allows(&missing));
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        let commands: Vec<String> = commands.into_iter().take(2).collect();
        let trusted = self.all.iter().filter(|c| c.trusted.is_yes()).count();
        let text = match trusted {
            0 => format!("none of the {} backups is vouched for by a trusted key", self.all.len()),
            _ if self.vouched().all(|c| c.late) => {
                format!("all of the {trusted} trusted backups came into the store long after the times they claim")
            }
            _ if proven.is_some_and(|c| c.trusted.is_yes() && !c.late) => {
                "nothing is proven since the cluster was restored or re-created".to_owned()
            }
            _ => format!("none of the {trusted} trusted backups is proven"),
        };
        let hint = format!("name one and consent to what speaks against it: {}", commands.join(", or "));
        Refusal { id: None, kind: RefusalKind::NotUsable, text, hint }
    }
}

fn allows(missing: &[&'static str]) -> String {
    missing.iter().map(|word| format!(" --allow {word}")).collect()
}
