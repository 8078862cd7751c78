//! Where clients connect: TCP, Unix sockets, and sockets that systemd has opened.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The first descriptor that systemd passes on.
const FIRST_INHERITED: i32 = 3;

/// A socket that takes connections.
#[derive(Debug)]
pub enum Listener {
    /// A network address.
    Tcp(TcpListener),
    /// A path, which is removed in the end if it was made here.
    Unix(UnixListener, Option<Arc<Made>>),
}

/// A socket file that was made here.
#[derive(Debug)]
pub struct Made {
    path: PathBuf,
    inode: u64,
}

impl Made {
    /// Removes it unless another one is there.
    pub fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Listener {
    /// Listens on a network address.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        Self::Tcp(TcpListener::bind(address)?).prepared()
    }

    /// Listens on a path. A socket there that no program has any more is replaced.
    ///
    /// # Errors
    /// If something else is there, or the system refuses.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let listens = || io::Error::other("another program listens there");
        if let Ok(metadata) = fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::other("there is a file of that name that is no socket"));
            }
            match connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                // Would block: so many clients wait there that there is no room for one more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(listens()),
                Ok(()) => return Err(listens()),
                Err(error) => {
                    let problem =
                        format!("a socket is there that another program may use ({error}); name another path");
                    return Err(io::Error::other(problem));
                }
            }
        }
        let listener = UnixListener::bind(path)?;
        let made = Arc::new(Made { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() });
        Self::Unix(listener, Some(made)).prepared()
    }

    /// The sockets that systemd has opened for this process, if any.
    ///
    /// # Errors
    /// If one of them is no stream socket that listens.
    pub fn inherited() -> io::Result<Vec<Self>> {
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(Vec::new());
        }
        let count = number("LISTEN_FDS").and_then(|count| i32::try_from(count).ok()).unwrap_or(0);
        (FIRST_INHERITED..FIRST_INHERITED.saturating_add(count)).map(Self::inherit).collect()
    }

    fn inherit(fd: i32) -> io::Result<Self> {
        if !Path::new("/proc/self/fd").join(fd.to_string()).exists() {
            return Err(io::Error::other(format!("LISTEN_FDS promises descriptor {fd}, which is not open")));
        }
        // SAFETY: the descriptor is open, and by the protocol of LISTEN_PID and LISTEN_FDS it was opened for this process to
        // own. This is the only place that takes it, and it is called once per process.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        if !rustix::net::sockopt::socket_acceptconn(&fd)? {
            return Err(io::Error::other("a socket of LISTEN_FDS does not listen; use Accept=no and ListenStream="));
        }
        match rustix::net::sockopt::socket_domain(&fd)? {
            AddressFamily::UNIX => Self::Unix(fd.into(), None).prepared(),
            AddressFamily::INET | AddressFamily::INET6 => Self::Tcp(fd.into()).prepared(),
            _ => Err(io::Error::other("a socket of LISTEN_FDS is neither TCP nor Unix")),
        }
    }

    /// The socket file that was made here, if one was.
    pub fn made(&self) -> Option<Weak<Made>> {
        match self {
            Self::Unix(_, made) => made.as_ref().map(Arc::downgrade),
            Self::Tcp(_) => None,
        }
    }

    fn prepared(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
            Self::Unix(listener, _) => listener.set_nonblocking(true)?,
        }
        Ok(self)
    }

    /// The next connection; an error of kind `WouldBlock` if there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn accept(&self) -> io::Result<Stream> {
        let stream = match self {
            Self::Tcp(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Stream::Tcp(stream)
            }
            Self::Unix(listener, _) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                Stream::Unix(stream)
            }
        };
        Ok(stream)
    }

    /// How people would write it.
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| "TCP".into(), |a| format!("http://{a}/")),
            Self::Unix(listener, _) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "a Unix socket".into(), |path| format!("unix:{}", path.display()))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

/// Connects to a path and lets go, without waiting for whoever listens there.
fn connect(path: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?)
}

/// The address of a machine: of IPv4 also where a socket for both protocols writes it as one of IPv6.
fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// What stands for the machine that has this address: of IPv6, a machine mostly has all addresses that begin with the same 64 bits.
fn machine(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over the network, or from this machine to itself.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
}

impl Stream {
    /// Whose turn it is when clients take turns: that of the other machine, or of this connection if that is this machine.
    pub fn other_machine(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(ip).filter(|ip| !ip.is_loopback()).map(machine),
            Self::Unix(_) => None,
        }
    }

    /// Whether it came over a network, that of this machine with itself included.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        };
    }

    /// As [`Read::read`].
    ///
    /// # Errors
    /// As [`Read::read`].
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    /// As [`Write::write`].
    ///
    /// # Errors
    /// As [`Write::write`].
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
