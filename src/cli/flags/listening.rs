//! Where to listen, and who this node is.

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};
use serde::Serialize;

use crate::cli::cores::CoreList;
use crate::cli::listen::Listen;
use crate::cli::values::parse_node;
use crate::config::Config;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Listening")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Listening {
    /// Address and port to listen on; may be repeated
    ///
    /// Every shard listens on each of them and the kernel spreads the clients. Only this machine can connect
    /// by default; 0.0.0.0:9000 or [::]:9000 opens the server to the network. [::]:9000 takes IPv4 as well, unless
    /// an IPv4 address with the same port is named beside it. A name such as localhost:9000 stands for all its addresses
    /// on this host.
    #[arg(long, env = "ANNULUS_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    #[arg(default_values_t = Config::default().listen.into_iter().map(Listen::from))]
    pub listen: Vec<Listen>,

    /// Address and port of the HTTP API for backends and whoever runs the server; there is none without
    ///
    /// Requests show an API key (`annulus key create`), where --auth asks who clients are. Without --auth only this machine
    /// may reach it. docs/messaging.md and docs/admin.md have what there is.
    #[arg(long, env = "ANNULUS_ADMIN_LISTEN", value_name = "ADDR:PORT")]
    pub admin_listen: Option<std::net::SocketAddr>,

    /// Leave out the page that browsers get of /
    ///
    /// It shows a board, a channel and a counter that all who open it share, in maps that begin with demo:. Without it
    /// everybody gets the text that curl gets. With --rules there is none either, as it would have to be allowed first.
    #[arg(long, env = "ANNULUS_NO_PAGE", value_parser = BoolishValueParser::new())]
    pub no_page: bool,

    /// Cores to run on, one shard each, such as 0-3,6 [default: all this process may use]
    ///
    /// Leave out the cores that serve the network card's interrupts or other programs.
    #[arg(long, env = "ANNULUS_CORES", value_name = "LIST")]
    pub cores: Option<CoreList>,

    /// Connections the kernel keeps waiting to be accepted, of each listener
    ///
    /// Absorbs a storm of reconnects; the kernel caps it at net.core.somaxconn.
    #[arg(long, env = "ANNULUS_BACKLOG", value_name = "COUNT")]
    #[arg(value_parser = value_parser!(i32).range(1..=65_535), default_value_t = Config::default().backlog)]
    pub backlog: i32,

    /// Name of this node in its stamps, 1 to 40 ASCII characters without " \ : [default: n- and 8 hex digits]
    ///
    /// Two nodes that write the same data need different names, as the name breaks ties between stamps.
    #[arg(long, env = "ANNULUS_NODE", value_name = "NAME", value_parser = parse_node)]
    pub node: Option<String>,
}
