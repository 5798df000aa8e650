-- Applied at every start, as superuser: who may do what. Idempotent.
do $$
begin
  if to_regrole('autoctl_owner') is null then create role autoctl_owner nologin; end if;
  if to_regrole('autoctl_node') is null then create role autoctl_node login; end if;
  if to_regrole('autoctl_probe') is null then create role autoctl_probe nologin; end if;
end $$;

-- A client that stops in the middle of a transaction must not hold a lock for long.
alter role autoctl_node set statement_timeout = '30s';
alter role autoctl_node set lock_timeout = '10s';
alter role autoctl_node set idle_in_transaction_session_timeout = '10s';

do $$
begin
  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect on database %I to autoctl_node', current_database());
end $$;
revoke all on schema public from public;

create schema if not exists autoctl authorization autoctl_owner;
revoke all on schema autoctl from public;
grant usage on schema autoctl to autoctl_node;

create table if not exists autoctl.migration (
  name    text primary key,
  digest  text not null,
  applied timestamptz not null default now()
);
alter table autoctl.migration owner to autoctl_owner;
