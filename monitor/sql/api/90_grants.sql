-- The role of clients may execute what clients call, and nothing else.
do $$
declare
  callable constant text[] := array['hello', 'register', 'report', 'goal', 'command', 'answer', 'pause', 'create_formation',
    'drop_formation', 'create_database', 'drop_database', 'set_settings', 'set_node_metadata', 'state', 'events', 'formations', 'settings', 'node_by_name', 'timelines',
    'explain_input', 'topology', 'outdone'];
  f record;
begin
  revoke all on all functions in schema autoctl from public;
  revoke all on all functions in schema autoctl from autoctl_node;
  alter default privileges in schema autoctl revoke execute on functions from public;
  for f in select p.oid::regprocedure as signature, p.proname, p.prosecdef from pg_proc p where p.pronamespace = 'autoctl'::regnamespace loop
    if f.prosecdef <> (f.proname = any (callable)) then
      raise exception 'function % is callable by clients or runs as its owner, but not both', f.signature;
    end if;
    if f.proname = any (callable) then
      execute format('grant execute on function %s to autoctl_node', f.signature);
    end if;
  end loop;
end $$;
