//! What there is, for people and for tools.

/// OpenAPI 3.1, written by hand beside this file; `tests/server_api` holds it against a running server.
pub const PAGE: &str = include_str!("openapi.json");

pub const INDEX: &str = "Annulus: the server API, for backends. docs/messaging.md says more, /api/openapi.json all of it.

  POST /api/write       {\"ops\":[{\"map\":\"todos\",\"key\":\"t1\",\"op\":\"set\",\"value\":1}]}
  POST /api/read        {\"map\":\"todos\",\"keys\":[\"t1\"]}
  POST /api/publish     {\"channel\":\"chat:1\",\"data\":\"hello\"}
  POST /api/history     {\"channel\":\"chat:1\",\"limit\":50}
  POST /api/send        {\"to\":\"user:u1\",\"data\":\"hello\"}
  POST /api/presence    {\"room\":\"doc-1\",\"limit\":100}
  POST /api/disconnect  {\"user\":\"u1\"}
  POST /api/revoke      {\"user\":\"u1\"} or {\"token\":\"<jti>\"}
  POST /api/batch       {\"requests\":[{\"type\":\"write\",\"ops\":[]}, …]}, at most 100

For whoever runs the server, docs/admin.md:

  GET   /admin/server  /admin/now  /admin/history  /admin/clients  /admin/client?connection=…  /admin/maps  /admin/map?map=…
        /admin/keys?map=…  /admin/key?map=…&key=…  /admin/export  /admin/rooms  /admin/channels  /admin/users
        /admin/storage  /admin/backup  /admin/log  /admin/settings  /admin/drain  /admin/check
  POST  /admin/kick  /admin/revoke  /admin/explain  /admin/backup  /admin/settings  /admin/drain  /admin/check
  GET   /metrics  /healthz  /readyz

Each request below /api is the message of /v1 of that name without type and id, and so is its answer. Where the server asks who its clients are, show
an API key: Authorization: Bearer ann_…
";
