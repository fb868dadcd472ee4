//! The data of a message, as it is sent on.

use crate::shard::Shard;
use crate::wire::Reject;
use crate::wire::json::Value;

/// It in canonical form.
///
/// # Errors
/// [`Reject::TooLarge`].
pub fn canonical(shard: &Shard, data: &Value<'_>) -> Result<Vec<u8>, Reject> {
    let mut canonical = Vec::new();
    data.write_canonical(&mut canonical);
    if canonical.len() > shard.config().value_bytes_max {
        return Err(Reject::TooLarge("the data is over --max-value-bytes"));
    }
    Ok(canonical)
}
