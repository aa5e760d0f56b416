//! The text of a schedule, read field by field, so that an error can say which one is wrong and what to write.

use super::CronError;
use std::collections::BTreeSet;

/// What one field may hold.
struct Spec {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
    example: &'static str,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
pub(super) const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SECOND: Spec = Spec { name: "second", min: 0, max: 59, names: &[], example: "*/10" };
const MINUTE: Spec = Spec { name: "minute", min: 0, max: 59, names: &[], example: "*/30" };
const HOUR: Spec = Spec { name: "hour", min: 0, max: 23, names: &[], example: "0-23/6" };
const DAY_OF_MONTH: Spec = Spec { name: "day of month", min: 1, max: 31, names: &[], example: "1,15" };
const MONTH: Spec = Spec { name: "month", min: 1, max: 12, names: &MONTHS, example: "1-6 or jan-jun" };
const DAY_OF_WEEK: Spec = Spec { name: "day of week", min: 0, max: 7, names: &DAYS, example: "1-5 or mon-fri" };

/// The values of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) set: BTreeSet<u32>,
    /// Whether the field begins with `*`, which crontab(5) calls unrestricted: with a step, too.
    pub(super) star: bool,
}

/// A schedule's fields. Days of the week are 0 to 6 from Sunday on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) second: Values,
    pub(super) minute: Values,
    pub(super) hour: Values,
    pub(super) day_of_month: Values,
    pub(super) month: Values,
    pub(super) day_of_week: Values,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Result<Fields, CronError> {
        let expanded = if text.starts_with('@') { word(text)? } else { text };
        let parts: Vec<&str> = expanded.split_whitespace().collect();
        let (second, [minute, hour, day_of_month, month, day_of_week]) = match parts.as_slice() {
            [] => return Err(CronError::Empty),
            [m, h, dom, mon, dow] => ("0", [*m, *h, *dom, *mon, *dow]),
            [s, m, h, dom, mon, dow] => (*s, [*m, *h, *dom, *mon, *dow]),
            other => {
                return Err(CronError::Fields { text: text.to_owned(), found: other.len() });
            }
        };
        let mut fields = Fields {
            second: SECOND.parse(second)?,
            minute: MINUTE.parse(minute)?,
            hour: HOUR.parse(hour)?,
            day_of_month: DAY_OF_MONTH.parse(day_of_month)?,
            month: MONTH.parse(month)?,
            day_of_week: DAY_OF_WEEK.parse(day_of_week)?,
        };
        fields.day_of_week.set = fields.day_of_week.set.iter().map(|day| day % 7).collect();
        Ok(fields)
    }
}

fn word(text: &str) -> Result<&'static str, CronError> {
    let wrong = |hint| CronError::Word { text: text.to_owned(), hint };
    match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        "@reboot" => Err(wrong("a missed slot is caught up after a start anyway")),
        word if word.starts_with("@every") => Err(wrong("for every 30 minutes write \"*/30 * * * *\"")),
        _ => Err(wrong("for anything else write five fields, like \"*/30 * * * *\"")),
    }
}

impl Spec {
    fn parse(&self, value: &str) -> Result<Values, CronError> {
        let mut set = BTreeSet::new();
        for item in value.split(',') {
            set.extend(self.item(item).map_err(|problem| CronError::Field {
                field: self.name,
                value: value.to_owned(),
                problem,
                example: self.example,
            })?);
        }
        Ok(Values { set, star: value.starts_with('*') })
    }

    /// One item of a list: `*`, `a`, `a-b`, `*/n`, `a-b/n`.
    fn item(&self, item: &str) -> Result<Vec<u32>, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let (first, last) = match (range.split_once('-'), step) {
            _ if range == "*" => (self.min, self.whole()),
            (Some((first, last)), _) => self.range(range, first, last)?,
            (None, None) => (self.value(range)?, self.value(range)?),
            (None, Some(step)) => {
                let value = self.value(range)?;
                return Err(format!("a step needs a range or `*` before it: write `{value}-{}/{step}`", self.whole()));
            }
        };
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok((first..=last).step_by(step).collect())
    }

    /// The last value that counts as its own: 6 for days of the week, where 7 is Sunday again.
    fn whole(&self) -> u32 {
        if self.name == DAY_OF_WEEK.name { 6 } else { self.max }
    }

    fn range(&self, range: &str, first: &str, last: &str) -> Result<(u32, u32), String> {
        let (from, mut to) = (self.value(first)?, self.value(last)?);
        if to == 0 && self.name == DAY_OF_WEEK.name && from > 0 {
            to = 7; // `fri-sun` ends with the Sunday that ends the week
        }
        if from > to {
            return Err(format!(
                "the range `{range}` runs backwards: write `{first}-{},{}-{last}`",
                self.whole(),
                self.min
            ));
        }
        Ok((from, to))
    }

    fn step(&self, step: &str) -> Result<u32, String> {
        match step.parse::<u32>() {
            Ok(0) => Err("a step of 0 goes nowhere".to_owned()),
            Ok(n) if n > self.whole() => Err(format!(
                "a step of {n} does not fit into {}-{}: it would not mean every {n}",
                self.min,
                self.whole()
            )),
            Ok(n) if is_number(step) => Ok(n),
            _ => Err(format!("`{step}` is not a step")),
        }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, value)) = named {
            return Ok(value);
        }
        match text.parse::<u32>() {
            Ok(value) if is_number(text) && (self.min..=self.max).contains(&value) => Ok(value),
            Ok(value) if is_number(text) => Err(format!("{value} is not within {} to {}", self.min, self.max)),
            _ if text.is_empty() => Err("a value is missing".to_owned()),
            _ if self.names.is_empty() => Err(format!("`{text}` is not a number from {} to {}", self.min, self.max)),
            _ => Err(format!("`{text}` is neither a number from {} to {} nor a name", self.min, self.max)),
        }
    }
}

/// Digits only: `str::parse` would also take `+5`.
fn is_number(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit())
}
