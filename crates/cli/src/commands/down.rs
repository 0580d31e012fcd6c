//! `lateen down`.

use anyhow::Result;

use crate::args::Down;

/// Stops the mesh.
pub fn run(arguments: &Down) -> Result<()> {
    let instance = &arguments.instance;
    let stopped = lateen_local::down(&instance.name, instance.state_dir.as_deref(), arguments.purge)?;
    match (stopped, arguments.purge) {
        (true, true) => println!("Mesh {:?} stopped, and what it kept is removed.", instance.name),
        (true, false) => println!("Mesh {:?} stopped; `lateen up` finds its resources again.", instance.name),
        (false, true) => println!("Mesh {:?} was not running; what it kept is removed.", instance.name),
        (false, false) => println!("Mesh {:?} was not running.", instance.name),
    }
    Ok(())
}
