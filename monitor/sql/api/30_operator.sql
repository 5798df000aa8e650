-- What operators call to change something.

create or replace function autoctl.check_group(f text, g integer) returns void
language plpgsql stable as $$
begin
  if not exists (select from autoctl.formation where name = f) then
    perform autoctl.fail('AC002', format('the monitor knows no formation %L', f), 'list them: autoctl show state');
  elsif not exists (select from autoctl.grp where formation = f and number = g) then
    perform autoctl.fail('AC002', format('formation %L has no group %s', f, g), 'list them: autoctl show state');
  end if;
end $$;

-- locked_formation returns a formation, which nobody else changes until the transaction ends.
create or replace function autoctl.locked_formation(f text) returns autoctl.formation
language plpgsql as $$
declare
  fo autoctl.formation;
begin
  select * into fo from autoctl.formation where name = f for update;
  if not found then
    perform autoctl.fail('AC002', format('the monitor knows no formation %L', f), 'list them: autoctl show state');
  end if;
  return fo;
end $$;

-- command takes an operator's command for Decide; its answer comes on channel autoctl_answer.
create or replace function autoctl.command(protocol integer, f text, g integer, command jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  new_id bigint;
  whom   bigint := coalesce((command->>'node')::bigint, 0);
begin
  perform autoctl.check_protocol(protocol);
  perform autoctl.check_group(f, g);
  if whom <> 0 and not exists (select from autoctl.node n where n.id = whom and n.formation = f and n.grp = g) then
    perform autoctl.fail('AC002', format('group %s of formation %L has no node %s', g, f, whom), 'list them: autoctl show state');
  end if;
  insert into autoctl.command (formation, grp, command) values (f, g, command) returning id into new_id;
  perform autoctl.wake(f, g);
  return to_jsonb(new_id);
end $$;

create or replace function autoctl.answer(protocol integer, command bigint) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  c autoctl.command;
begin
  perform autoctl.check_protocol(protocol);
  select * into c from autoctl.command x where x.id = answer.command;
  if not found then
    perform autoctl.fail('AC002', format('the monitor knows no command %s', answer.command));
  end if;
  return c.answer;
end $$;

create or replace function autoctl.pause(protocol integer, f text, on_off boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  changed boolean;
begin
  perform autoctl.check_protocol(protocol);
  perform autoctl.locked_formation(f);
  update autoctl.formation set paused = on_off where name = f and paused <> on_off;
  changed := found;
  if changed then
    insert into autoctl.event (formation, grp, kind, rule, reason)
    select f, number, case when on_off then 'paused' else 'resumed' end, 'operator', 'asked by an operator' from autoctl.grp where formation = f;
    perform autoctl.wake_formation(f);
  end if;
  return to_jsonb(changed);
end $$;

create or replace function autoctl.create_formation(protocol integer, f jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform autoctl.check_protocol(protocol);
  if coalesce(f->>'name', '') = '' or octet_length(f->>'name') > 63 or f->>'name' ~ '[[:cntrl:]]' then
    perform autoctl.fail('AC004', format('formation name %L is empty, longer than 63 bytes, or holds control characters', f->>'name'));
  elsif coalesce(f->>'kind', '') not in ('', 'pgsql', 'citus') then
    perform autoctl.fail('AC004', format('formation kind %L is neither pgsql nor citus', f->>'kind'));
  elsif coalesce((f->>'number_sync_standbys')::integer, 0) not between 0 and 100 then
    perform autoctl.fail('AC004', format('number-sync-standbys %s is not between 0 and 100', f->>'number_sync_standbys'));
  end if;
  insert into autoctl.formation (name, kind, database, number_sync)
  values (f->>'name', coalesce(nullif(f->>'kind', ''), 'pgsql'), coalesce(nullif(f->>'database', ''), 'postgres'),
    coalesce((f->>'number_sync_standbys')::integer, 0))
  on conflict do nothing;
  if not found then
    perform autoctl.fail('AC003', format('formation %L exists', f->>'name'));
  end if;
  return null;
end $$;

-- create_database adds a database to a Citus formation; its nodes make it. drop_database takes one out of the formation, and leaves it where it is.
create or replace function autoctl.create_database(protocol integer, f text, database text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  fo autoctl.formation;
begin
  perform autoctl.check_protocol(protocol);
  fo := autoctl.locked_formation(f);
  if fo.kind <> 'citus' then
    perform autoctl.fail('AC005', format('formation %L is of kind %s, whose databases are made with CREATE DATABASE', f, fo.kind));
  elsif coalesce(database, '') = '' or octet_length(database) > 63 or database ~ '[[:cntrl:]]' then
    perform autoctl.fail('AC004', format('database name %L is empty, longer than 63 bytes, or holds control characters', database));
  elsif database in ('template0', 'template1', 'all', 'replication') then
    perform autoctl.fail('AC004', format('%s is a template, or has a meaning of its own in pg_hba.conf', database), 'choose another name');
  elsif database = fo.database then
    perform autoctl.fail('AC003', format('%L is the first database of formation %L', database, f));
  end if;
  insert into autoctl.formation_database (formation, name) values (f, database) on conflict do nothing;
  if not found then
    perform autoctl.fail('AC003', format('formation %L has database %L already', f, database), 'autoctl show citus tells how far its nodes are with it');
  end if;
  perform autoctl.note_database(f, database, 'is a database of the formation');
  return null;
end $$;

create or replace function autoctl.drop_database(protocol integer, f text, database text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  fo autoctl.formation;
begin
  perform autoctl.check_protocol(protocol);
  fo := autoctl.locked_formation(f);
  if database = fo.database then
    perform autoctl.fail('AC005', format('%L is the first database of formation %L, which cannot do without it', database, f), 'autoctl drop formation');
  end if;
  delete from autoctl.formation_database d where d.formation = f and d.name = database;
  if not found then
    perform autoctl.fail('AC002', format('formation %L has no database %L', f, database), 'list them: autoctl show state --output json');
  end if;
  perform autoctl.note_database(f, database, 'is no database of the formation any more');
  return null;
end $$;

create or replace function autoctl.note_database(f text, database text, news text) returns void
language plpgsql as $$
declare
  n autoctl.node;
begin
  insert into autoctl.event (formation, grp, kind, rule, reason)
  select f, g.number, 'database', 'operator', format('%L %s', database, news) from autoctl.grp g where g.formation = f and g.number = 0;
  n.id := 0;
  n.formation := f;
  n.grp := 0;
  n.name := '';
  n.host := '';
  n.port := 0;
  perform autoctl.announce(n, '', 'database', format('%L %s', database, news));
  perform autoctl.wake_formation(f);
end $$;

create or replace function autoctl.drop_formation(protocol integer, f text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  nodes bigint;
  gone  bigint;
begin
  perform autoctl.check_protocol(protocol);
  perform autoctl.locked_formation(f);
  select count(*) into nodes from autoctl.node where formation = f;
  if nodes > 0 then
    perform autoctl.fail('AC005', format('formation %L has %s nodes', f, nodes), 'drop its nodes first: autoctl drop node');
  end if;
  -- Decisions must not become fewer: the incarnation file counts them.
  with dropped as (delete from autoctl.grp where formation = f returning decisions)
  select coalesce(sum(decisions), 0) into gone from dropped;
  update autoctl.monitor set retired = retired + gone;
  delete from autoctl.command where formation = f;
  delete from autoctl.formation where name = f;
  return null;
end $$;

-- set_settings stores all timings; the client has checked them together, and the monitor does again before it uses them.
create or replace function autoctl.set_settings(protocol integer, s jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  k text;
begin
  perform autoctl.check_protocol(protocol);
  for k in select x.key from autoctl.settings o, jsonb_each(o.settings) x loop
    if coalesce(s->>k, '') !~ '^[0-9]{1,15}$' then
      perform autoctl.fail('AC004', format('setting %s is %s: a number of milliseconds or bytes is wanted', k, coalesce(s->>k, 'missing')));
    end if;
  end loop;
  -- Once standbys were registered with Citus, their list is a wish even where it is empty.
  if '1' in (s->>'citus_standbys', (select o.settings->>'citus_standbys' from autoctl.settings o)) then
    update autoctl.grp g set replicas = true from autoctl.formation f where f.name = g.formation and f.kind = 'citus' and not g.replicas;
  end if;
  update autoctl.settings set settings = s, chosen = true where settings <> s or not chosen;
  if found then
    perform autoctl.wake_formation(null);
  end if;
  return null;
end $$;

create or replace function autoctl.set_node_metadata(protocol integer, node bigint, m jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  n autoctl.node;
  r jsonb;
begin
  perform autoctl.check_protocol(protocol);
  select * into n from autoctl.node x where x.id = set_node_metadata.node;
  if not found then
    perform autoctl.fail('AC002', format('the monitor knows no node %s', set_node_metadata.node));
  end if;
  r := jsonb_build_object('formation', n.formation, 'name', coalesce(nullif(m->>'name', ''), n.name),
    'host', coalesce(nullif(m->>'host', ''), n.host), 'port', coalesce(nullif((m->>'port')::integer, 0), n.port),
    'token', n.token, 'priority', n.priority);
  perform autoctl.check_registration(r);
  perform from autoctl.grp where formation = n.formation and number = n.grp for update;
  perform autoctl.check_free(r, n.id);
  update autoctl.node x set name = r->>'name', host = r->>'host', port = (r->>'port')::integer where x.id = n.id;
  insert into autoctl.event (formation, grp, node, name, kind, rule, reason)
  values (n.formation, n.grp, n.id, r->>'name', 'metadata', 'operator',
    format('%s at %s:%s is now %s at %s:%s', n.name, n.host, n.port, r->>'name', r->>'host', r->>'port'));
  perform autoctl.note_served(n.formation, n.grp);
  perform autoctl.wake(n.formation, n.grp);
  perform autoctl.wake_fellows(n.formation);
  return null;
exception when unique_violation then
  perform autoctl.fail('AC003', 'another node has that name or address');
  return null;
end $$;
