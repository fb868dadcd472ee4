//! A list of networks: `10.0.0.0/8,127.0.0.1`.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Serialize;

/// Networks; a single address is one of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NetworkList(pub Vec<IpNet>);

impl FromStr for NetworkList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A variable that is there and empty means none.
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(|part| parse_network(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| {
        let example = "addresses or networks, such as 127.0.0.1,10.0.0.0/8,fd00::/8";
        format!("'{text}' is no network; write {example}")
    })?;
    Ok(network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        let read = |text: &str| {
            let NetworkList(networks) = text.parse().unwrap();
            networks.iter().map(IpNet::to_string).collect::<Vec<_>>()
        };
        assert_eq!(read("127.0.0.1, 10.1.2.3/8"), ["127.0.0.1/32", "10.0.0.0/8"]);
        assert_eq!(read("::1,fd00::/8"), ["::1/128", "fd00::/8"]);
        assert_eq!(read(" "), [""; 0]);
    }

    #[test]
    fn garbage_is_refused_with_an_example() {
        for text in
            ["a", "10.0.0.0/33", "10.0.0/8", "10.0.0.1,", "10.0.0.1 10.0.0.2", "localhost", "::/129", "/8"]
        {
            assert!(text.parse::<NetworkList>().is_err_and(|error| error.contains("10.0.0.0/8")), "{text}");
        }
    }
}
