//! The two ways in: gRPC, and HTTP with protobuf bodies.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use futures::stream;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::{Manner, Received};

struct Service(Arc<Received>);

/// As the manner is: takes the call, refuses it, or never returns.
async fn greet(received: &Received) -> Result<(), Status> {
    match received.called() {
        Manner::Taking => Ok(()),
        // A permanent failure: it is not tried again.
        Manner::Refusing => Err(Status::invalid_argument("this collector takes nothing")),
        Manner::Silent => std::future::pending().await,
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        greet(&self.0).await?;
        self.0.take_spans(request.get_ref());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        greet(&self.0).await?;
        self.0.take_metrics(request.get_ref());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        greet(&self.0).await?;
        self.0.take_lines(request.get_ref());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// Serves gRPC until it is aborted.
pub(crate) async fn grpc(listener: TcpListener, received: Arc<Received>) {
    let connections = stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let served = Server::builder()
        .add_service(TraceServiceServer::new(Service(Arc::clone(&received))))
        .add_service(MetricsServiceServer::new(Service(Arc::clone(&received))))
        .add_service(LogsServiceServer::new(Service(received)))
        .serve_with_incoming(connections)
        .await;
    if let Err(error) = served {
        eprintln!("the collector ended: {error}");
    }
}

/// Serves HTTP until it is aborted.
pub(crate) async fn http(listener: TcpListener, received: Arc<Received>) {
    let router = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .with_state(received);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("the collector ended: {error}");
    }
}

async fn traces(State(received): State<Arc<Received>>, body: Bytes) -> (StatusCode, Vec<u8>) {
    if greet(&received).await.is_err() {
        return (StatusCode::BAD_REQUEST, Vec::new());
    }
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => received.take_spans(&request),
        Err(_) => return (StatusCode::BAD_REQUEST, Vec::new()),
    }
    let answer = ExportTraceServiceResponse::default();
    (StatusCode::OK, answer.encode_to_vec())
}

async fn metrics(State(received): State<Arc<Received>>, body: Bytes) -> (StatusCode, Vec<u8>) {
    if greet(&received).await.is_err() {
        return (StatusCode::BAD_REQUEST, Vec::new());
    }
    match ExportMetricsServiceRequest::decode(body) {
        Ok(request) => received.take_metrics(&request),
        Err(_) => return (StatusCode::BAD_REQUEST, Vec::new()),
    }
    let answer = ExportMetricsServiceResponse::default();
    (StatusCode::OK, answer.encode_to_vec())
}

async fn logs(State(received): State<Arc<Received>>, body: Bytes) -> (StatusCode, Vec<u8>) {
    if greet(&received).await.is_err() {
        return (StatusCode::BAD_REQUEST, Vec::new());
    }
    match ExportLogsServiceRequest::decode(body) {
        Ok(request) => received.take_lines(&request),
        Err(_) => return (StatusCode::BAD_REQUEST, Vec::new()),
    }
    let answer = ExportLogsServiceResponse::default();
    (StatusCode::OK, answer.encode_to_vec())
}
