//! The envelope every call answers with.

use crate::container_server::codes::{self, Fault};
use crate::front::Response;
use serde_json::{Value, json};

/// What stands before the data of a successful answer; a brace ends it.
pub const SUCCESS: &[u8] =
    b"{\"result\":true,\"bk_error_code\":0,\"bk_error_msg\":\"success\",\"permission\":null,\"data\":";

/// The envelope as JSON.
pub fn envelope_value(outcome: Result<Value, Fault>) -> Value {
    let (code, message, data) = match outcome {
        Ok(data) => (0, "success".to_owned(), data),
        Err(fault) => (fault.code, fault.message, Value::Null),
    };
    json!({"result": code == 0, "bk_error_code": code, "bk_error_msg": message, "permission": null, "data": data})
}

/// The envelope as an answer.
pub fn envelope(outcome: Result<Value, Fault>) -> Response {
    let status = outcome.as_ref().map_or_else(|fault| fault.status, |_| 200);
    Response::json(status, &envelope_value(outcome))
}

/// The answer to a method the path does not know.
pub fn wrong_method(method: &str) -> Response {
    let fault = Fault::new(codes::INVALID, format!("this path takes {method}")).with_status(405);
    let mut response = envelope(Err(fault));
    response.headers.push(("Allow", method.to_owned()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_before_the_data_is_that_of_the_envelope() {
        let whole = [SUCCESS, b"[1]}"].concat();
        assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), envelope_value(Ok(json!([1]))));
    }
}
