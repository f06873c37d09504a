//! Secrets by id (row SVC-14).

use lamina_proto::secrets::GetSecretRequest;
use lamina_proto::secrets::GetSecretResponse;
use lamina_proto::secrets::secrets_server::Secrets;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::async_trait;

use super::error::status;
use super::offer::Offer;

#[async_trait]
impl Secrets for Offer {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let value = self.session.secret(&id).await.map_err(status)?;
        let missing = || Status::not_found(format!("secret {id}: not found"));
        let data = value.ok_or_else(missing)?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}
