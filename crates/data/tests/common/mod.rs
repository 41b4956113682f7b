//! What tests of several sources need.

/// What `load` comes to, within the time that a person would wait.
#[cfg(unix)]
pub fn in_time<T: Send + 'static>(load: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(load()));
    receiver.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for a pipe or reads for ever")
}
