//! TraceService: there is no collector to forward spans to.

use lamina_proto::trace::ExportTraceServiceRequest;
use lamina_proto::trace::ExportTraceServiceResponse;
use lamina_proto::trace::trace_service_server::TraceService;
use tonic::Request;
use tonic::Response;
use tonic::Status;

/// Refuses spans; clients take that as "not configured" (rows OTH-03, ERR-20).
#[derive(Debug)]
pub(crate) struct NoCollector;

#[tonic::async_trait]
impl TraceService for NoCollector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Err(Status::unavailable("trace collector not configured"))
    }
}
