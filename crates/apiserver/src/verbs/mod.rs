//! The verbs: what a request does to a resource.

mod body;
mod create;
pub mod delete;
mod options;
mod patch;
pub mod prepare;
mod read;
mod render;
mod update;
mod watch;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::Value;

pub use body::value as read_value;
pub use create::create;
pub use options::{Options, Validation};
pub use render::Shape;
pub use update::{Changed, Part, update};

use crate::context::Context;
use crate::registry::{Resource, Served};
use crate::server::route::Target;
use crate::server::{Reply, Request, User, reply};
use crate::status::{ApiError, Result};
use crate::subresource;

/// One request on its way through the verbs.
pub struct Call {
    /// The server.
    pub context: Arc<Context>,
    /// The resource, in the version that the client uses.
    pub served: Served,
    /// Namespace; empty where there is none.
    pub namespace: String,
    /// Who asks.
    pub user: User,
    /// What they ask for beside the object.
    pub options: Options,
    /// Subresource that is written; empty for the object itself.
    pub subresource: String,
    /// Whether the change is a patch, for which some mistakes have other words.
    pub patching: bool,
    /// Warnings for the client's user.
    pub warnings: Vec<String>,
}

impl Call {
    /// A call by the server itself.
    pub fn internal(context: &Arc<Context>, served: Served, namespace: &str) -> Self {
        Self {
            context: context.clone(),
            served,
            namespace: namespace.to_owned(),
            user: User::system(),
            options: Options::internal(),
            subresource: String::new(),
            patching: false,
            warnings: Vec::new(),
        }
    }

    /// The resource.
    pub fn resource(&self) -> &Resource {
        &self.served.resource
    }

    /// An answer with an object of the stored version, in the client's version and shape.
    pub fn reply(&self, code: StatusCode, stored: Value, shape: Shape) -> Reply {
        let mut reply = render::object(code, &self.served, stored, shape);
        reply::warn(reply.headers_mut(), &self.warnings);
        reply
    }
}

/// Does what a request asks of a resource.
pub async fn dispatch(
    context: &Arc<Context>,
    mut request: Request,
    target: Target,
    watch: bool,
) -> Result<Reply> {
    let method = request.head.method.clone();
    let shape = Shape::accepted(&request.head.headers, &request.query);
    let mut call = Call {
        context: context.clone(),
        served: target.served.clone(),
        namespace: target.namespace.clone(),
        user: request.user.clone(),
        options: Options::of(&request),
        subresource: target.subresource.clone().unwrap_or_default(),
        patching: method == Method::PATCH,
        warnings: Vec::new(),
    };
    if let Some(deprecation) = &target.served.version().deprecation {
        call.warnings.push(deprecation.clone());
    }
    let watch = watch || request.query.flag("watch");
    match (&target.name, target.subresource.as_deref(), method) {
        (None, None, Method::GET) if watch => watch::watch(&call, &request, None, shape),
        (None, None, Method::GET) => read::list(&call, &request, shape),
        (None, None, Method::POST) => {
            let object = body::object(&mut request).await?;
            let created = create(&mut call, object, None).await?;
            Ok(call.reply(StatusCode::CREATED, created, shape))
        }
        (None, None, Method::DELETE) => {
            let options = delete::DeleteOptions::read(&mut request).await?;
            delete::collection(&call, &request, &options).await
        }
        (Some(name), None, Method::GET) if watch => watch::watch(&call, &request, Some(name), shape),
        (Some(name), None | Some("status"), Method::GET) => read::get(&call, name, shape),
        (Some(name), None, Method::DELETE) => {
            let options = delete::DeleteOptions::read(&mut request).await?;
            delete::delete(&mut call, name, &options, shape).await
        }
        (Some(name), None, Method::PUT) => put(&mut call, &mut request, name, Part::Main, shape).await,
        (Some(name), None, Method::PATCH) => {
            patch::patch(&mut call, &mut request, name, Part::Main, shape).await
        }
        (Some(name), Some("status"), Method::PUT | Method::PATCH) if !call.served.version().status => {
            Err(crate::context::not_found(call.resource(), name))
        }
        (Some(name), Some("status"), Method::PUT) => {
            put(&mut call, &mut request, name, Part::Status, shape).await
        }
        (Some(name), Some("status"), Method::PATCH) => {
            patch::patch(&mut call, &mut request, name, Part::Status, shape).await
        }
        (Some(name), Some(sub), _) => subresource::dispatch(call, request, name, sub, shape).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Replaces an object with the one in the body.
pub async fn put(
    call: &mut Call,
    request: &mut Request,
    name: &str,
    part: Part,
    shape: Shape,
) -> Result<Reply> {
    let object = body::object(request).await?;
    let (stored, created) = update::replace(call, name, object, part).await?;
    Ok(call.reply(if created { StatusCode::CREATED } else { StatusCode::OK }, stored, shape))
}

/// Patches an object's part with what the body says.
pub async fn patch_part(
    call: &mut Call,
    request: &mut Request,
    name: &str,
    part: Part,
    shape: Shape,
) -> Result<Reply> {
    patch::patch(call, request, name, part, shape).await
}
