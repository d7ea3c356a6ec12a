//! Schemas at random, of all that the guide says is enforced.

use serde_json::{Map, Value, json};

/// Numbers by counter, the same on every machine (SplitMix64, Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `below` − 1.
    fn below(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// A schema with what it refers to.
pub(crate) fn schema(random: &mut Random) -> Value {
    let mut schema = object(random, 3);
    if random.chance(15) {
        schema = any(random, 3);
    }
    let definitions = json!({
        "leaf": simple(random),
        "tree": {
            "type": "object",
            "properties": {"value": simple(random), "left": {"$ref": "#/$defs/tree"}},
            "required": ["value"],
            "additionalProperties": false
        }
    });
    if let Value::Object(keys) = &mut schema {
        keys.insert("$defs".into(), definitions);
        keys.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    }
    schema
}

fn any(random: &mut Random, depth: u64) -> Value {
    if depth == 0 {
        return simple(random);
    }
    match random.below(10) {
        0..4 => simple(random),
        4..6 => object(random, depth),
        6 | 7 => array(random, depth),
        8 => combined(random, depth),
        _ => json!({"$ref": random.pick(&["#/$defs/leaf", "#/$defs/tree"])}),
    }
}

fn simple(random: &mut Random) -> Value {
    match random.below(9) {
        0 | 1 => string(random),
        2 => integer(random),
        3 => number(random),
        4 => json!({"type": "boolean"}),
        5 => json!({"type": "null"}),
        6 => {
            json!({"const": random.pick(&[json!("fixed \"x\"\n"), json!(7), json!(-2.5), json!([1, {"a": null}]), json!(true)])})
        }
        7 => json!({"enum": [1, "two", null, {"three": 3}, "vier\u{e4}"]}),
        _ => json!({"type": ["string", "null", "integer"], "maxLength": 6, "minimum": 2, "maximum": 40}),
    }
}

fn string(random: &mut Random) -> Value {
    let mut keys = Map::from_iter([("type".to_owned(), json!("string"))]);
    match random.below(6) {
        0 => {
            let format = random.pick(&["date", "date-time", "time", "uuid", "ipv4", "email", "hostname"]);
            keys.insert("format".into(), format.into());
            if matches!(format, "email" | "hostname") {
                keys.insert("maxLength".into(), 24.into());
            }
        }
        1 => {
            let patterns =
                ["^[A-Z]{2}-[0-9]{3}$", "^(red|green|blue)$", r"^\d{1,3}(\.\d{2})?$", "^[a-z]+@[a-z]+$", "[xyz]$"];
            keys.insert("pattern".into(), random.pick(&patterns).into());
            keys.insert("maxLength".into(), 16.into());
        }
        _ => {
            let least = random.below(4);
            keys.insert("minLength".into(), least.into());
            keys.insert("maxLength".into(), (least + random.below(12)).into());
        }
    }
    Value::Object(keys)
}

fn integer(random: &mut Random) -> Value {
    let least = random.below(2000) as i64 - 1000;
    let most = least + 10 + random.below(3000) as i64;
    match random.below(4) {
        0 => json!({"type": "integer", "minimum": least, "maximum": most}),
        1 => json!({"type": "integer", "exclusiveMinimum": least, "exclusiveMaximum": most}),
        2 => json!({"type": "integer", "minimum": least, "maximum": most, "multipleOf": random.pick(&[2, 3, 5])}),
        _ => json!({"type": "integer"}),
    }
}

fn number(random: &mut Random) -> Value {
    let least = random.below(200) as i64 - 100;
    let most = least + 5 + random.below(300) as i64;
    match random.below(4) {
        0 => json!({"type": "number", "minimum": least, "maximum": most}),
        1 => json!({"type": "number", "exclusiveMinimum": least, "maximum": most as f64 + 0.5}),
        2 => json!({"type": "number", "minimum": least, "maximum": most, "multipleOf": 0.5}),
        _ => json!({"type": "number"}),
    }
}

fn object(random: &mut Random, depth: u64) -> Value {
    let names = ["name", "size", "a \"quoted\" one", "ünï", "items", "kind"];
    let count = random.below(5) as usize;
    let mut properties = Map::new();
    for name in names.iter().take(count) {
        properties.insert((*name).to_owned(), any(random, depth.saturating_sub(1)));
    }
    let required: Vec<_> = properties.keys().filter(|_| random.chance(60)).cloned().collect();
    let mut keys = Map::from_iter([("type".to_owned(), json!("object")), ("properties".to_owned(), properties.into())]);
    match random.below(10) {
        0..7 => _ = keys.insert("additionalProperties".into(), false.into()),
        7 => _ = keys.insert("additionalProperties".into(), simple(random)),
        8 => {
            keys.insert("patternProperties".into(), json!({"^x_[a-z]{1,4}$": simple(random)}));
            keys.insert("additionalProperties".into(), false.into());
        }
        _ => {}
    }
    if required.len() == count && count > 0 && random.chance(20) {
        keys.insert("minProperties".into(), count.into());
        keys.insert("maxProperties".into(), count.into());
    }
    keys.insert("required".into(), required.into());
    Value::Object(keys)
}

fn array(random: &mut Random, depth: u64) -> Value {
    let least = random.below(3);
    match random.below(3) {
        0 => {
            let items: Vec<_> = (0..=least).map(|_| any(random, depth.saturating_sub(1))).collect();
            json!({"type": "array", "prefixItems": items, "items": false, "minItems": least})
        }
        1 => {
            json!({"type": "array", "prefixItems": [simple(random)], "items": any(random, depth.saturating_sub(1)), "maxItems": 3})
        }
        _ => {
            json!({"type": "array", "items": any(random, depth.saturating_sub(1)), "minItems": least, "maxItems": least + random.below(3)})
        }
    }
}

fn combined(random: &mut Random, depth: u64) -> Value {
    match random.below(4) {
        0 => json!({"anyOf": [any(random, depth.saturating_sub(1)), simple(random)]}),
        1 => {
            json!({"oneOf": [string(random), integer(random), {"type": "boolean"}, object(random, depth.saturating_sub(1))]})
        }
        2 => json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}, "x": simple(random)}, "required": ["kind"],
             "additionalProperties": false},
            {"type": "object", "properties": {"kind": {"const": "b"}, "y": any(random, depth.saturating_sub(1))},
             "required": ["kind", "y"], "additionalProperties": false}
        ]}),
        _ => json!({"allOf": [
            {"type": "object", "properties": {"p": simple(random)}, "required": ["p"]},
            {"type": "object", "properties": {"q": simple(random)}, "required": ["q"]}
        ]}),
    }
}
