//! Tests of the connectors that need processes of their own. One binary, since each costs link time.

#[cfg(test)]
mod killed_writer;
#[cfg(test)]
mod object_storage;
#[cfg(test)]
#[path = "../../../../tests/servers/mod.rs"]
mod servers;
#[cfg(test)]
mod sftp_storage;
