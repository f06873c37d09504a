//! Registry credentials of this host (rows SVC-10 to SVC-13).

use lamina_proto::filesync;
use lamina_proto::filesync::auth_server::Auth;
use lamina_session::TokenRequest;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::async_trait;

use super::error::status;
use super::offer::Offer;

#[async_trait]
impl Auth for Offer {
    /// Without credentials the answer is empty, which means anonymous.
    async fn credentials(
        &self,
        request: Request<filesync::CredentialsRequest>,
    ) -> Result<Response<filesync::CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let found = self.session.credentials(&host).await.map_err(status)?;
        let answer = found.map_or_else(Default::default, |found| filesync::CredentialsResponse {
            username: found.username,
            secret: found.secret,
        });
        Ok(Response::new(answer))
    }

    async fn fetch_token(
        &self,
        request: Request<filesync::FetchTokenRequest>,
    ) -> Result<Response<filesync::FetchTokenResponse>, Status> {
        let request = request.into_inner();
        let wanted = TokenRequest {
            client_id: request.client_id,
            host: request.host,
            realm: request.realm,
            service: request.service,
            scopes: request.scopes,
        };
        let token = self.session.fetch_token(&wanted).await.map_err(status)?;
        let token = token.ok_or_else(|| Status::unimplemented("tokens are not fetched here"))?;
        Ok(Response::new(filesync::FetchTokenResponse {
            token: token.token,
            expires_in: token.expires_in,
            issued_at: token.issued_at,
        }))
    }

    async fn get_token_authority(
        &self,
        _: Request<filesync::GetTokenAuthorityRequest>,
    ) -> Result<Response<filesync::GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("tokens are not signed here"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<filesync::VerifyTokenAuthorityRequest>,
    ) -> Result<Response<filesync::VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("tokens are not signed here"))
    }
}
