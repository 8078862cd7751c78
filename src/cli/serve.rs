//! `edgeqa serve`.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use edgeqa::serve::{Limits, Options, THREADS, serve};

use super::args::serve::ServeArgs;
use super::{keep, locate, memory};

/// Where it listens if nothing else is said.
const PORT: u16 = 8017;

pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let named = args.model.clone();
    let (kept, threads) = (args.memory, args.threads.start()?);
    let (count, warned) = (threads.count(), RefCell::default());
    if let Ok(path) = locate::served(named.as_deref()) {
        memory::warn_before_mapping(&path);
    }
    serve(Options {
        listen: args.listen.clone(),
        hosts: args.host.clone(),
        sockets: args.socket.clone(),
        stdio: args.stdio,
        fallback: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
        documents: args.docs.clone(),
        passages: args.passages,
        config: args.config.clone(),
        limits: limits(args),
        threads,
        locate: Box::new(move || locate::served(named.as_deref()).map_err(|error| error.to_string())),
        settle: Box::new(move |artifact| {
            // A model may be tried again and again.
            if warned.replace(artifact.data_sha256().to_owned()) != artifact.data_sha256() {
                memory::warn(&memory::need(artifact, count, None).beside(THREADS));
            }
            keep(artifact, kept).map_err(|error| error.to_string())
        }),
    })?;
    Ok(())
}

fn limits(args: &ServeArgs) -> Limits {
    if args.max_body < args.max_context {
        let (body, context) = (args.max_body, args.max_context);
        log::warn!(
            "no context can have the {context} bytes of --max-context, as a request may have {body} (--max-body)"
        );
    }
    Limits {
        body: args.max_body,
        question: args.max_question,
        context: args.max_context,
        queue: args.max_queue,
        connections: args.max_connections,
        request: Duration::from_secs_f64(args.request_timeout),
        client: Duration::from_secs_f64(args.client_timeout),
        idle: Duration::from_secs_f64(args.idle_timeout),
        stop: Duration::from_secs_f64(args.stop_timeout),
    }
}
